"""Bare clients of the bus benchmark, as processes: vehicles that only answer, and a consumer."""

import asyncio
import sys
import time

import msgspec

from core.bus import Bus, Subscription
from core.bus.mqtt5 import Mqtt5Bus
from core.bus.open import open_bus
from core.bus.reconnect import BusOptions
from core.contracts.topics import Topic, filter_of, topic_of
from core.settings import BusSettings, load

STALLED_S = 30.0
GROUP = "gateway"


class Role(msgspec.Struct, frozen=True):
    """What the process is: vehicles where ``fleet`` names some, else the consumer."""

    fleet: list[tuple[str, str]] = []  # VIN and secret
    answer: str = ""  # what each vehicle sends for each command, whatever it says
    config: str = ""


class Wanted(msgspec.Struct, frozen=True):
    """The consumer's turn: so many configurations of those, each with this number or above."""

    seq: dict[str, int] = {}  # the last number of each vehicle; empty: any
    configs: int = 0


class Seen(msgspec.Struct, frozen=True):
    """``ended``: when the last one was there, seconds since the epoch; ``configs``: how many."""

    ended: float
    configs: int


class _Sequence(msgspec.Struct):
    seq: int


async def _vehicle(bus: Bus, topics: tuple[str, str], role: Role) -> None:
    answer, config = role.answer.encode(), role.config.encode()
    async for message in bus.messages():
        # Both go out at once; the confirmation comes before the next one's is asked for.
        await asyncio.gather(
            bus.publish(topics[0], answer, timeout_s=120),
            bus.publish(topics[1], config, retain=True, timeout_s=120),
        )
        bus.ack(message)


async def _vehicles(settings: BusSettings, role: Role) -> None:
    buses = {
        vin: open_bus(
            settings, client_id=vin, username=vin, password=secret, role="vehicle",
            subscriptions=[Subscription(topic_of(settings.prefix, vin, Topic.CMD))], receive_max=20,
        )
        for vin, secret in role.fleet
    }  # fmt: skip
    connecting = asyncio.Semaphore(50)

    async def connect(bus: Bus) -> None:
        async with connecting:
            await bus.start()

    await asyncio.gather(*(connect(bus) for bus in buses.values()))
    lives = [
        asyncio.create_task(
            _vehicle(
                bus,
                (
                    topic_of(settings.prefix, vin, Topic.ANSWER),
                    topic_of(settings.prefix, vin, Topic.CONFIG),
                ),
                role,
            )
        )
        for vin, bus in buses.items()
    ]
    _say(b"ready")
    await asyncio.to_thread(sys.stdin.readline)
    for life in lives:
        life.cancel()
    await asyncio.gather(*lives, return_exceptions=True)
    await asyncio.gather(*(bus.close() for bus in buses.values()))


async def _consumer(settings: BusSettings) -> None:
    assert settings.password is not None
    topics = (Topic.ANSWER, Topic.CONFIG)
    bus = Mqtt5Bus(
        BusOptions(
            # The gateway's own name, with a session that ends: nothing is kept for it meanwhile.
            "caas-gateway-0", settings.host, settings.port, settings.username,
            settings.password.get_secret_value(),
            [Subscription(filter_of(settings.prefix, topic), GROUP) for topic in topics],
            receive_max=2000, session_expiry_s=0,
        )
    )  # fmt: skip
    await bus.start()
    _say(b"ready")
    wanted = msgspec.json.decode(await asyncio.to_thread(sys.stdin.readline), type=Wanted)
    _say(msgspec.json.encode(await _count(bus, wanted)))
    await bus.close()


async def _count(bus: Bus, wanted: Wanted) -> Seen:
    ended, configs, missing = time.time(), 0, dict(wanted.seq)
    incoming = bus.messages()
    while missing or configs < wanted.configs:
        try:
            async with asyncio.timeout(STALLED_S):
                message = await anext(incoming)
        except TimeoutError:
            break  # what is missing then is counted as lost
        bus.ack(message)
        if message.retain or not message.topic.endswith("/config"):
            continue
        configs += 1
        ended = time.time()
        if missing:
            vin = message.topic.split("/")[-2]
            seq = msgspec.json.decode(message.payload, type=_Sequence).seq
            if seq >= missing.get(vin, seq + 1):
                del missing[vin]
    return Seen(ended, configs)


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


async def _main() -> None:
    role = msgspec.json.decode(sys.stdin.readline(), type=Role)
    settings = load(BusSettings)
    await (_vehicles(settings, role) if role.fleet else _consumer(settings))


if __name__ == "__main__":
    asyncio.run(_main())
