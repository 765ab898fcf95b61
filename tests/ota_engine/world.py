"""The engine in a test: a real database, a clock to turn, a bus that records, and one car."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString, cast
from uuid import UUID

import msgspec
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from core.bus import BusUnavailable, Message, Properties
from core.bus.port import NO_PROPERTIES
from core.clock import Clock, ManualClock
from core.contracts import bus as wire
from core.contracts.bus import (
    Answer,
    Command,
    CommandKind,
    Operational,
    ParameterSetting,
    Reason,
    ReportedConfig,
    Result,
    VehicleStatus,
)
from core.contracts.jobs import Job, RequestActivation
from core.contracts.jws import new_signing_key, verify
from core.contracts.states import Origin
from core.contracts.topics import Topic, topic_of
from core.db import Database
from core.ids import new_id
from core.keys import KeyFile, SigningKeys
from core.settings import DatabaseSettings, load
from ota_engine.inbox import Inbox
from ota_engine.jobs import JobHandlers
from ota_engine.publisher import Publisher
from ota_engine.scan import Scan
from ota_engine.settings import OtaSettings
from ota_engine.unit import Engine

PREFIX = "caas/v1/vehicles"
VIN = "VF1AURRA000000017"
START = datetime(2026, 11, 24, 8, tzinfo=UTC)
KEYS = SigningKeys((new_signing_key(),))


class FixedKeys(KeyFile):
    """The keys of the world, on no disk."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))

    def load(self) -> SigningKeys:
        return KEYS


POWER_ON = [ParameterSetting("ENGINE_CONTROL", "power_mode", "HIGH")]
POWER_OFF = [ParameterSetting("ENGINE_CONTROL", "power_mode", "NORMAL")]
OFFROAD_ON = [
    ParameterSetting("TRACTION_CONTROL", "off_road_mode", True),
    ParameterSetting("TRACTION_CONTROL", "snow_mode_available", 1),
]
OFFROAD_OFF = [
    ParameterSetting("TRACTION_CONTROL", "off_road_mode", False),
    ParameterSetting("TRACTION_CONTROL", "snow_mode_available", 0),
]

SEED = """
INSERT INTO config.vehicle_model (code, name, engine_type, firmware_version, base_price_minor)
VALUES ('AURORA', 'Aurora', 'ELECTRIC', '2.4.1', 3000000) ON CONFLICT DO NOTHING;
INSERT INTO config.service (service_id, code, name, category, requires_maintenance) VALUES
 (gen_random_uuid(), 'PERF_BOOST_50', 'Power', 'performance', true),
 (gen_random_uuid(), 'SPORT_SOUND', 'Sound', 'performance', false),
 (gen_random_uuid(), 'NO_MAPPING', 'None', 'performance', false),
 (gen_random_uuid(), 'BAD_VALUE', 'Bad', 'performance', false),
 (gen_random_uuid(), 'OFF_ROAD', 'Off-road', 'traction', true) ON CONFLICT DO NOTHING;
INSERT INTO config.mapping (service_code, platform, settings, safe_state) VALUES
 ('PERF_BOOST_50', 'AURORA', '[{"module":"ENGINE_CONTROL","parameter":"power_mode",
   "on_value":"HIGH","off_value":"NORMAL"}]', 'PARKED'),
 ('SPORT_SOUND', 'AURORA', '[{"module":"ENGINE_CONTROL","parameter":"power_mode",
   "on_value":"HIGH","off_value":"NORMAL"}]', 'ANY'),
 ('BAD_VALUE', 'AURORA', '[{"module":"ENGINE_CONTROL","parameter":"power_mode",
   "on_value":"LUDICROUS","off_value":"NORMAL"}]', 'ANY'),
 ('OFF_ROAD', 'AURORA', '[{"module":"TRACTION_CONTROL","parameter":"off_road_mode",
   "on_value":true,"off_value":false},{"module":"TRACTION_CONTROL",
   "parameter":"snow_mode_available","on_value":1,"off_value":0}]', 'PARKED')
 ON CONFLICT DO NOTHING;
INSERT INTO config.capability (model, firmware_version, module, parameter, allowed) VALUES
 ('AURORA', '2.4.1', 'ENGINE_CONTROL', 'power_mode', '["NORMAL", "HIGH"]'),
 ('AURORA', '2.4.1', 'TRACTION_CONTROL', 'off_road_mode', '[true, false]'),
 ('AURORA', '2.4.1', 'TRACTION_CONTROL', 'snow_mode_available', '[0, 1]')
 ON CONFLICT DO NOTHING;
"""


class RecordingBus:
    """A bus that keeps what was published; ``down`` makes it fail as a lost broker does."""

    def __init__(self) -> None:
        self.down = False
        self.connected = True
        self.trouble: str | None = None
        self.published: list[tuple[str, bytes, Properties]] = []
        self.acked: list[Message] = []

    async def start(self) -> None:
        return

    async def messages(self) -> AsyncIterator[Message]:
        await asyncio.Event().wait()
        yield Message("", b"")

    def ack(self, message: Message) -> None:
        self.acked.append(message)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        properties: Properties = NO_PROPERTIES,
        timeout_s: float = 10.0,
    ) -> None:
        if self.down:
            raise BusUnavailable("the broker is away")
        self.published.append((topic, payload, properties))

    async def close(self, *, drop: bool = False) -> None:
        return


@dataclass
class World:
    """Everything a test of the engine needs, in the words of the domain."""

    dsn: str
    database: Database
    bus: RecordingBus
    clock: ManualClock
    engine: Engine
    settings: OtaSettings
    jobs: JobHandlers = field(init=False)
    scan: Scan = field(init=False)
    inbox: Inbox = field(init=False)

    def __post_init__(self) -> None:
        self.jobs = JobHandlers(self.engine)
        self.scan = Scan(self.engine)
        self.inbox = Inbox(self.engine, self.bus, PREFIX)

    # --- the platform ---------------------------------------------------------------------------

    async def do(self, job: Job) -> None:
        """Run a job of ours as its worker would, then what it made due."""
        await self.jobs.table()[type(job)](job)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            if not await self.scan.due():
                return
        raise AssertionError("the scan finds no end")

    async def later(self, seconds: float) -> None:
        """Let time pass, and the scan see it."""
        self.clock.advance(seconds)
        await self.scan.keep_house()
        await self.settle()

    async def buy(
        self,
        service: str = "PERF_BOOST_50",
        *,
        vin: str = VIN,
        origin: Origin = Origin.PURCHASE,
        days: int | None = 7,
        starts_at: datetime | None = None,
        **changes: Any,
    ) -> RequestActivation:
        """Ask for an activation; paid where it is a purchase."""
        bought = origin is Origin.PURCHASE
        job = RequestActivation(
            activation_id=new_id(),
            vin=vin,
            service_code=service,
            origin=origin,
            purchased_at=self.clock.now(),
            customer_id=new_id(),
            payment_id=new_id() if bought else None,
            duration_days=days,
            starts_at=starts_at,
            paid=bought,
        )
        job = msgspec.structs.replace(job, **changes)
        await self.do(job)
        return job

    # --- the gateway ----------------------------------------------------------------------------

    async def vehicle(self, presence: str = "ONLINE", vin: str = VIN, **state: Any) -> None:
        """What the registry knows of the car."""
        status = state.get("status")
        await self.sql(
            "INSERT INTO gateway.vehicle (vin, model, firmware) VALUES (%s, 'AURORA', '2.4.1')"
            " ON CONFLICT DO NOTHING",
            vin,
        )
        await self.sql(
            "INSERT INTO gateway.vehicle_state (vin, presence, operational, status,"
            " reported_values, reported_seq) VALUES (%s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (vin) DO UPDATE SET presence = excluded.presence,"
            " operational = excluded.operational, status = excluded.status,"
            " reported_values = excluded.reported_values, reported_seq = excluded.reported_seq",
            vin,
            presence,
            state.get("operational"),
            None if status is None else Jsonb(status),
            Jsonb(msgspec.to_builtins(state["reported"])) if "reported" in state else None,
            state.get("reported_seq"),
        )

    # --- the car --------------------------------------------------------------------------------

    async def say(
        self, topic: Topic, body: msgspec.Struct, *, vin: str = VIN, retain: bool = False
    ) -> None:
        """The car publishes; then what that made due."""
        message = Message(topic_of(PREFIX, vin, topic), wire.encode(body), retain)
        await self.inbox.take(message)
        await self.settle()

    async def answer(
        self, command: Command, result: Result, reason: Reason | None = None, **ids: Any
    ) -> None:
        body = Answer(result, self.clock.now(), command.command_id, command.seq, reason)
        await self.say(Topic.ANSWER, msgspec.structs.replace(body, **ids), vin=command.vin)

    async def report(
        self,
        values: list[ParameterSetting],
        seq: int,
        *,
        retain: bool = False,
        vin: str = VIN,
    ) -> None:
        body = ReportedConfig(
            self.clock.now(), seq, "2.4.1", "AURORA", values, wire.digest_of(values)
        )
        await self.say(Topic.CONFIG, body, retain=retain, vin=vin)

    async def online(self, vin: str = VIN) -> None:
        body = wire.PresenceMessage(wire.Presence.ONLINE, self.clock.now(), "s1", 1)
        await self.say(Topic.PRESENCE, body, vin=vin)

    async def status(self, operational: Operational, vin: str = VIN) -> None:
        body = VehicleStatus(self.clock.now(), operational, "2.4.1", 80, error_codes=["P0A0F"])
        await self.say(Topic.STATUS, body, vin=vin)

    # --- what came of it ------------------------------------------------------------------------

    def commands(self, kind: CommandKind | None = CommandKind.CONFIGURE) -> list[Command]:
        """The verified commands on the bus."""
        keys = KEYS.verifier()
        found = [verify(payload, keys) for _topic, payload, _properties in self.bus.published]
        return [command for command in found if kind is None or command.kind is kind]

    @property
    def last(self) -> Command:
        return self.commands()[-1]

    async def sql(self, query: str, *params: Any) -> list[dict[str, Any]]:
        async with (
            await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as conn,
            conn.cursor(row_factory=dict_row) as cursor,
        ):
            await cursor.execute(cast("LiteralString", query), params or None)
            return await cursor.fetchall() if cursor.description else []

    async def activation(self, activation_id: UUID) -> dict[str, Any]:
        rows = await self.sql(
            "SELECT * FROM ota.activation_v1 WHERE activation_id = %s", activation_id
        )
        return rows[0]

    async def state(self, job: RequestActivation) -> str:
        return str((await self.activation(job.activation_id))["state"])

    async def history(self, job: RequestActivation) -> list[str]:
        rows = await self.sql(
            "SELECT to_state FROM ota.activation_history_v1 WHERE activation_id = %s ORDER BY id",
            job.activation_id,
        )
        return [row["to_state"] for row in rows]

    async def deferred(self, name: str) -> list[dict[str, Any]]:
        """The payloads of the jobs of that name, in order."""
        rows = await self.sql(
            "SELECT args->'payload' AS payload FROM jobs.procrastinate_jobs"
            " WHERE task_name = %s ORDER BY id",
            name,
        )
        return [row["payload"] for row in rows]

    async def notices(self) -> list[str]:
        return [payload["event"] for payload in await self.deferred("api.notify")]

    async def tickets(self) -> list[dict[str, Any]]:
        return await self.sql("SELECT * FROM support.ticket_v1 ORDER BY created_at")

    async def deliveries(self, job: RequestActivation, direction: str = "ON") -> list[str]:
        rows = await self.sql(
            "SELECT state FROM ota.delivery WHERE activation_id = %s AND direction = %s"
            " ORDER BY created_at",
            job.activation_id,
            direction,
        )
        return [row["state"] for row in rows]

    async def attempts(self, job: RequestActivation) -> list[tuple[int, str | None, str | None]]:
        rows = await self.sql(
            "SELECT attempt_number, result, response_code FROM ota.attempt_v1"
            " WHERE activation_id = %s AND direction = 'ON' ORDER BY attempt_number",
            job.activation_id,
        )
        return [(row["attempt_number"], row["result"], row["response_code"]) for row in rows]


async def open_world(dsn: str, engine_clock: Clock | None = None, **settings: Any) -> World:
    """A world on a migrated database, with the car known and offline state unset."""
    clock = ManualClock(START)
    bus = RecordingBus()
    ota = load(OtaSettings, **{"max_retries": 2, **settings})
    database = Database(
        load(DatabaseSettings, dsn=dsn, set_role=True), role="caas_ota", service="test-ota"
    )
    await database.open()
    used = engine_clock or clock
    publisher = Publisher(bus, database, FixedKeys(), PREFIX, 1.0, used)
    world = World(dsn, database, bus, clock, Engine(database, publisher, ota, used), ota)
    await world.sql(SEED)
    return world


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)
