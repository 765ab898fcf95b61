"""A gateway that consumes the stand-in's API, and the platform's ears and mouth on the bus."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiomqtt
import httpx
import msgspec
import psycopg
import pytest

from api.services.seed import seed_catalogue
from core.bus import Bus, Message, Subscription
from core.bus.open import open_bus
from core.contracts.bus import (
    Answer,
    Command,
    CommandKind,
    ParameterSetting,
    PresenceMessage,
    ReportedConfig,
    Result,
    SafeState,
    TelemetryBatch,
    VehicleEvent,
    VehicleStatus,
    check_time,
    decode,
    fits_digest,
)
from core.contracts.jws import sign
from core.contracts.topics import RETAINED, UPWARD, Topic, parse_topic, topic_of
from core.db import Database
from core.ids import new_id
from core.keys import SigningKeys, new_keys_file
from core.settings import DatabaseSettings, load
from gateway import registry
from gateway.main import run
from tests.broker_fixtures import RunningBroker, free_port
from tests.foreign.standin import CALLBACK_SECRET, SECRET, Behind, StandIn, standing_in
from tests.gateway.conftest import DEADLINE_S, PREFIX, eventually

VIN = "VF1AURXRA00000017"
OTHER_VIN = "VF1AURXRA00000025"
KINDS: dict[Topic, type[msgspec.Struct]] = {
    Topic.ANSWER: Answer,
    Topic.CONFIG: ReportedConfig,
    Topic.STATUS: VehicleStatus,
    Topic.PRESENCE: PresenceMessage,
    Topic.TELEMETRY: TelemetryBatch,
    Topic.EVENT: VehicleEvent,
}
HIGH = [ParameterSetting("ENGINE_CONTROL", "power_mode", "HIGH")]
T = TypeVar("T", bound=msgspec.Struct)


@dataclass
class World:
    """Everything in hand. ``heard``: (VIN, message) in the order of arrival."""

    api: StandIn
    room: Database
    dsn: str
    keys: SigningKeys
    bus: Bus
    urls: list[str]
    heard: list[tuple[str, msgspec.Struct]] = field(
        default_factory=list[tuple[str, msgspec.Struct]]
    )
    seqs: dict[str, int] = field(default_factory=dict[str, int])

    def all(self, kind: type[T], vin: str = VIN) -> list[T]:
        """What was heard of a kind."""
        return [item for name, item in self.heard if name == vin and isinstance(item, kind)]

    async def hears(
        self,
        kind: type[T],
        holds: Callable[[T], bool] = lambda _: True,
        vin: str = VIN,
        *,
        after: int = 0,
    ) -> T:
        """The first message of a kind that holds, waited for; ``after`` skips what came before."""
        found: list[T] = []

        async def there() -> bool:
            found[:] = [item for item in self.all(kind, vin)[after:] if holds(item)]
            return bool(found)

        await eventually(there, f"{kind.__name__} of {vin}; heard {self.heard}")
        return found[0]

    async def answer(self, command: Command, result: Result | None = None) -> Answer:
        """The answer to a command."""
        return await self.hears(
            Answer,
            lambda a: a.command_id == command.command_id and result in (None, a.result),
            command.vin,
        )

    async def order(
        self,
        values: Sequence[ParameterSetting] = HIGH,
        *,
        kind: CommandKind = CommandKind.CONFIGURE,
        vin: str = VIN,
        lives_s: float = 60.0,
        **more: Any,
    ) -> Command:
        """Publish a command as the engine does."""
        seq = self.seqs[vin] = self.seqs.get(vin, 0) + 1
        now = datetime.now(UTC)
        command = Command(
            vin=vin,
            command_id=new_id(),
            seq=seq,
            kind=kind,
            issued_at=now,
            expires_at=now + timedelta(seconds=lives_s),
            service="PERF_BOOST_50" if kind is CommandKind.CONFIGURE else None,
            values=list(values) if kind is CommandKind.CONFIGURE else [],
            safe_state=SafeState.PARKED if kind is CommandKind.CONFIGURE else SafeState.ANY,
        )
        command = msgspec.structs.replace(command, **more)
        await self.send(command)
        return command

    async def send(self, command: Command, topic_vin: str | None = None) -> None:
        await self.raw(sign(command, self.keys.current), topic_vin or command.vin)

    async def raw(self, payload: bytes, vin: str = VIN) -> None:
        await self.bus.publish(topic_of(PREFIX, vin, Topic.CMD), payload)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(query.encode(), values).fetchall()

    def listen(self, message: Message) -> None:
        """Hold what is heard against the contract: types, times, digest, retained flags (BUS)."""
        parsed = parse_topic(PREFIX, message.topic)
        assert parsed is not None
        vin, topic = parsed
        if vin not in (VIN, OTHER_VIN):
            return
        body = decode(KINDS[topic], message.payload)
        if not isinstance(body, TelemetryBatch):
            check_time(body.at, datetime.now(UTC))  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(body, ReportedConfig):
            assert fits_digest(body)
        self.heard.append((vin, body))

    async def retained(self, broker: RunningBroker) -> set[Topic]:
        """Which of the vehicle's topics a newcomer is told at once."""
        found: set[Topic] = set()
        bus = open_bus(
            broker.settings("svc-telemetry"),
            client_id=f"newcomer-{new_id()}",
            subscriptions=[Subscription(f"{PREFIX}/{VIN}/{topic}") for topic in UPWARD],
        )
        await bus.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S):
                async for message in bus.messages():
                    bus.ack(message)
                    if message.retain:
                        found.add(Topic(message.topic.rpartition("/")[2]))
                    if found >= RETAINED:
                        break
        await bus.close()
        return found


@contextlib.asynccontextmanager
async def running(
    dsn: str,
    broker: RunningBroker,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    replicas: int = 1,
    callbacks: bool = True,
    api_options: dict[str, Any] | None = None,
    **settings: str,
) -> AsyncGenerator[World]:
    """Gateways over one database and broker; two vehicles behind the stand-in."""
    room = await _prepare(dsn)
    keys = new_keys_file(folder / "keys.json")
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(standing_in())
        for vin in (VIN, OTHER_VIN):
            api.vehicles[vin] = Behind()
        _write_apis(folder, api, callbacks=callbacks, options=api_options or {})
        for name, value in _environment(dsn, broker, folder, settings).items():
            monkeypatch.setenv(name, value)
        ears = await _ears(broker)
        world = World(api, room, dsn, keys, await _mouth(broker), [])
        listening = asyncio.create_task(_listen(ears, world))
        stop = asyncio.Event()
        serving: list[asyncio.Task[None]] = []
        for slot in range(replicas):
            port = free_port()
            monkeypatch.setenv("CAAS_OPS_PORT", str(port))
            monkeypatch.setenv("CAAS_MQTT_SLOT", str(slot))
            serving.append(asyncio.create_task(run(stop)))
            url = f"http://127.0.0.1:{port}"
            world.urls.append(url)
            # Its settings are read before the next one's are set.
            await eventually(lambda at=url: _healthy(at), "the gateway is healthy")
        api.callback_url = f"{world.urls[0]}/caas/webhooks/ota-status"
        try:
            yield world
            assert not listening.done(), listening.exception()
        finally:
            stop.set()
            if api.hang is not None:
                api.hang.set()
            await asyncio.wait_for(asyncio.gather(*serving), DEADLINE_S)
            await ears.close()
            await asyncio.wait({listening})
            await world.bus.close()
            await _forget_retained(broker)
            for slot in range(1, replicas):
                await _forget_session(broker, "svc-bridge", f"caas-bridge-{slot}")
                await _forget_session(broker, "svc-gateway", f"caas-gateway-{slot}")
            await room.close()


async def _prepare(dsn: str) -> Database:
    database = Database(load(DatabaseSettings, dsn=dsn, set_role=True), role="caas_api")
    await database.open()
    async with database.transaction() as conn:
        await seed_catalogue(conn)
    await database.close()
    room = Database(load(DatabaseSettings, dsn=dsn, set_role=True), role="caas_gateway")
    await room.open()
    async with room.transaction() as conn:
        for vin in (VIN, OTHER_VIN):
            await registry.enroll(
                conn, vin=vin, model="AURORA", firmware="2.4.1", transport="iot_api"
            )
    return room


def _write_apis(folder: Path, api: StandIn, *, callbacks: bool, options: dict[str, Any]) -> None:
    (folder / "secret").write_text(f"{SECRET}\n")
    (folder / "callback-secret").write_text(CALLBACK_SECRET)
    entry: dict[str, Any] = {
        "name": "stand-in",
        "base_url": api.url,
        "vins": ["VF1*"],
        "auth": {"kind": "oauth2", "client_id": "caas", "secret_file": "secret"},
        "poll_s": 0.3,
        "waiting_poll_s": 0.1,
        "command_poll_s": 0.1,
        "telemetry": "push",
        **options,
    }
    if callbacks:
        entry["callback_secret_file"] = "callback-secret"
    (folder / "apis.json").write_text(json.dumps({"apis": [entry]}))


def _environment(
    dsn: str, broker: RunningBroker, folder: Path, more: dict[str, str]
) -> dict[str, str]:
    return {
        "CAAS_DB_DSN": dsn,
        "CAAS_DB_SET_ROLE": "true",
        "CAAS_MQTT_HOST": broker.host,
        "CAAS_MQTT_PORT": str(broker.port),
        "CAAS_MQTT_USERNAME": "svc-gateway",
        "CAAS_MQTT_PASSWORD": broker.secrets["svc-gateway"],
        "CAAS_SIGNING_KEYS_FILE": str(folder / "keys.json"),
        "CAAS_FOREIGN_APIS_FILE": str(folder / "apis.json"),
        "CAAS_FOREIGN_MQTT_PASSWORD": broker.secrets["svc-bridge"],
        "CAAS_FOREIGN_RETRY_S": "0.1",
        "CAAS_FOREIGN_SCAN_EVERY_S": "0.05",
        "CAAS_FOREIGN_ADOPT_EVERY_S": "0.2",
        **more,
    }


async def _ears(broker: RunningBroker) -> Bus:
    bus = open_bus(
        broker.settings("svc-telemetry"),
        client_id=f"ears-{new_id()}",
        subscriptions=[Subscription(f"{PREFIX}/+/{topic}") for topic in KINDS],
    )
    await bus.start()
    return bus


async def _mouth(broker: RunningBroker) -> Bus:
    bus = open_bus(broker.settings("svc-ota"), client_id=f"mouth-{new_id()}")
    await bus.start()
    return bus


async def _listen(bus: Bus, world: World) -> None:
    async for message in bus.messages():
        bus.ack(message)
        if not message.retain:
            world.listen(message)


async def _forget_retained(broker: RunningBroker) -> None:
    """The broker serves other tests after this one."""
    bus = open_bus(broker.settings("svc-bridge"), client_id=f"broom-{new_id()}")
    await bus.start()
    for vin in (VIN, OTHER_VIN):
        for topic in RETAINED:
            await bus.publish(topic_of(PREFIX, vin, topic), b"", retain=True)
    await bus.close()


async def _forget_session(broker: RunningBroker, user: str, client_id: str) -> None:
    """A slot that is away keeps its share of what comes, of later tests too."""
    async with aiomqtt.Client(
        broker.host,
        broker.port,
        identifier=client_id,
        username=user,
        password=broker.secrets[user],
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=True,
    ):
        pass


async def _healthy(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"{url}/healthz")).status_code == 200
    return False
