"""A vehicle and a platform on one broker: in memory, Mosquitto with both protocols, amqtt."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from core.bus import Bus, OnConnect, Subscription, Will, open_bus
from core.bus.memory import MemoryBroker, MemoryBus
from core.contracts.topics import Topic, topic_of
from core.ids import is_vin
from tests.broker_fixtures import RunningBroker, free_port
from tests.vehicle_sim.harness import PREFIX, UPWARD_FILTERS, Platform, platform_on
from vehicle_sim.main import vehicle_bus
from vehicle_sim.vehicle import OpenBus


@dataclass
class Rig:
    """One vehicle's place on a broker, and the platform at the other end."""

    vin: str
    secret: str
    open_bus: OpenBus
    platform: Platform
    cut: Callable[[], None]  # the network loses the vehicle's connection


class Relay:
    """A network between a vehicle and the broker that can lose every connection."""

    def __init__(self, host: str, port: int) -> None:
        self._broker = (host, port)
        self.port = free_port()
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._broker)
        self._writers += [writer, there_writer]
        await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def new_vin() -> str:
    """A VIN no other test has: brokers remember sessions and retained messages."""
    vin = "VF1AUR" + f"{secrets.randbelow(10**11):011d}"
    assert is_vin(vin)
    return vin


@pytest.fixture(params=["memory", "5", "3.1.1"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    vin, secret = new_vin(), secrets.token_hex(8)
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            broker = MemoryBroker()
            opener, cut = _memory_opener(broker), lambda: broker.cut(vin)
            ear: Bus = MemoryBus(broker, "ear", subscriptions=UPWARD_FILTERS)
            mouth: Bus = MemoryBus(broker, "mouth")
        else:
            embedded = request.param == "amqtt"
            protocol = "3.1.1" if embedded else request.param
            real: RunningBroker = request.getfixturevalue(
                "amqtt_broker" if embedded else "mosquitto_broker"
            )
            real.add_user(vin, secret)
            relay = Relay(real.host, real.port)
            await stack.enter_async_context(await relay.serve())
            settings = real.settings(vin, protocol=protocol)
            opener = vehicle_bus(settings.model_copy(update={"port": relay.port}))
            cut = relay.cut
            ear, mouth = _services(real, vin, protocol)
        platform = await stack.enter_async_context(platform_on(vin, ear, mouth))
        yield Rig(vin, secret, opener, platform, cut)


def _memory_opener(broker: MemoryBroker) -> OpenBus:
    def opener(vin: str, secret: str, will: Callable[[], Will], greet: OnConnect) -> Bus:
        return MemoryBus(
            broker,
            vin,
            subscriptions=[
                Subscription(topic_of(PREFIX, vin, topic)) for topic in (Topic.CMD, Topic.STORED)
            ],
            will=will,
            username=vin,
            password=secret,
            on_connect=greet,
            role="vehicle",
        )

    return opener


def _services(broker: RunningBroker, vin: str, protocol: str) -> tuple[Bus, Bus]:
    ear = open_bus(
        broker.settings("svc-telemetry", protocol=protocol),
        client_id=f"ear-{vin}",
        subscriptions=UPWARD_FILTERS,
    )
    mouth = open_bus(broker.settings("svc-gateway", protocol=protocol), client_id=f"mouth-{vin}")
    return ear, mouth
