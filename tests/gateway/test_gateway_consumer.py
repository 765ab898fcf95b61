"""The consumer on the in-memory broker and a real database."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from prometheus_client import REGISTRY

from core.bus.memory import MemoryBroker, MemoryBus
from core.bus.start import BusHolder
from core.clock import ManualClock
from core.contracts.bus import (
    Answer,
    EventType,
    Operational,
    ParameterSetting,
    Presence,
    PresenceMessage,
    Reason,
    ReportedConfig,
    Result,
    VehicleEvent,
    VehicleStatus,
    digest_of,
    encode,
)
from core.db import Database
from core.settings import BusSettings, SigningSettings, load
from gateway import metrics, registry
from gateway.consumer import Consumer, subscriptions
from gateway.main import parts
from gateway.parts import Gateway
from gateway.presence.scan import scan
from gateway.settings import GatewaySettings, PresenceSettings
from tests.gateway.conftest import DEADLINE_S, OTHER_VIN, PREFIX, VIN, eventually

CLIENT = "caas-gateway-0"
START = datetime.now(UTC)


class World:
    """A running consumer, and vehicles that talk to it."""

    def __init__(self, room: Database, broker: MemoryBroker, vehicle: MemoryBus) -> None:
        self.room = room
        self.broker = broker
        self.vehicle = vehicle
        self.clock = ManualClock(START)
        self.presence = load(PresenceSettings)

    async def say(self, topic: str, payload: bytes | msgspec.Struct, vin: str = VIN) -> None:
        body = payload if isinstance(payload, bytes) else encode(payload)
        await self.vehicle.publish(f"{PREFIX}/{vin}/{topic}", body)
        await self.all_acknowledged()

    async def all_acknowledged(self) -> None:
        session = self.broker._sessions[CLIENT]

        async def holds() -> bool:
            return not session.unacked and not session.waiting

        await eventually(holds, "everything is acknowledged")

    async def online(self, session: str = "one", seconds: int = 0, vin: str = VIN) -> None:
        await self.say("presence", presence("ONLINE", session, seconds), vin)

    async def row(self, vin: str = VIN) -> dict[str, Any]:
        async with self.room.transaction() as conn:
            (row,) = await conn.dicts(
                "SELECT * FROM gateway.vehicle_v1 WHERE vin = %(vin)s", {"vin": vin}
            )
        return row

    async def state(self) -> str:
        return (await self.row())["presence"]


def presence(state: str, session: str, seconds: int) -> PresenceMessage:
    return PresenceMessage(
        state=Presence(state), at=START + timedelta(seconds=seconds), session=session, boot=1
    )


def status(signal: float) -> VehicleStatus:
    return VehicleStatus(
        at=START, operational=Operational.PARKED, firmware="2.4.1", signal_pct=signal
    )


def unusable(reason: str) -> float:
    return metrics.UNUSABLE.labels(reason)._value.get()


@pytest.fixture
async def world(room: Database) -> AsyncIterator[World]:
    async with room.transaction() as conn:
        for vin in (VIN, OTHER_VIN):
            await registry.enroll(conn, vin=vin, model="AURORA", firmware="2.4.1")
    broker = MemoryBroker()
    vehicle, bus = (
        MemoryBus(broker, "vehicles"),
        MemoryBus(broker, CLIENT, subscriptions=subscriptions(PREFIX)),
    )
    world = World(room, broker, vehicle)
    await vehicle.start()
    await bus.start()
    holder = BusHolder()
    gateway = Gateway(room, world.clock, holder, load(BusSettings), load(SigningSettings))
    made = parts(gateway, load(GatewaySettings), world.presence)
    consumer = Consumer(
        room,
        bus,
        prefix=PREFIX,
        settings=load(GatewaySettings, seen_every_s=0.0),
        presence=world.presence,
        clock=world.clock,
        followers=[follower for part in made for follower in part.followers],
        batch_followers=[follower for part in made for follower in part.batch_followers],
        change_followers=[follower for part in made for follower in part.change_followers],
    )
    stop = asyncio.Event()
    running = asyncio.create_task(consumer.run(stop))
    yield world
    stop.set()
    await asyncio.wait_for(running, DEADLINE_S)
    await bus.close()
    await vehicle.close()


async def test_presence_by_session(world: World) -> None:
    await world.online("one", 0)
    await world.online("two", 10)
    await world.say("presence", presence("OFFLINE", "one", 0))
    assert await world.state() == "ONLINE"
    await world.say("presence", presence("OFFLINE", "two", 10))
    assert await world.state() == "OFFLINE"


async def test_a_weak_signal_limits_and_status_is_kept(world: World) -> None:
    await world.online()
    await world.say("status", status(12.5))
    row = await world.row()
    assert (row["presence"], row["operational"], row["signal_pct"]) == ("LIMITED", "PARKED", 12.5)
    assert row["status"]["firmware"] == "2.4.1"


async def test_silence_is_offline_until_the_next_message(world: World) -> None:
    await world.online()
    await world.online("other", vin=OTHER_VIN)
    world.clock.advance(299)
    assert await scan(world.room, world.presence, world.clock) == 0
    await world.say("telemetry", b"not even decoded", OTHER_VIN)
    world.clock.advance(17)
    assert await scan(world.room, world.presence, world.clock) == 1
    assert await world.state() == "OFFLINE"
    assert (await world.row(OTHER_VIN))["presence"] == "ONLINE"
    assert metrics.VEHICLES.labels("ONLINE")._value.get() == 1
    await world.say("telemetry", b"{}")
    row = await world.row()
    assert (row["presence"], row["last_seen_at"]) == ("ONLINE", world.clock.now())


async def test_the_reported_configuration_is_kept_with_its_true_digest(world: World) -> None:
    values = [ParameterSetting("HVAC", "climate_zones", 4)]
    before = metrics.REPORT_MISMATCHES.labels("digest")._value.get()
    config = ReportedConfig(
        at=START, seq=3, firmware="2.5.0", model="AURORA", values=values, digest="wrong"
    )
    await world.say("config", config)
    row = await world.row()
    assert row["reported_values"] == [{"module": "HVAC", "parameter": "climate_zones", "value": 4}]
    assert (row["reported_seq"], row["reported_digest"]) == (3, digest_of(values))
    assert row["firmware"] == "2.5.0"
    assert metrics.REPORT_MISMATCHES.labels("digest")._value.get() == before + 1
    # A status that follows leaves it alone.
    await world.say("status", status(80))
    assert (await world.row())["reported_values"] == row["reported_values"]


async def test_answers_go_to_the_command_log(world: World) -> None:
    command_id = uuid4()
    async with world.room.transaction() as conn:
        await conn.execute(
            "SELECT gateway.admit_command_v1(%(id)s, %(vin)s, 'QUERY', 'test', NULL, '{}', %(now)s,"
            " 10)",
            {"id": command_id, "vin": VIN, "now": START},
        )
    rejected = Answer(
        result=Result.REJECTED, at=START, command_id=command_id, seq=1, reason=Reason.BUSY
    )
    await world.say("answer", rejected, OTHER_VIN)  # not its command
    late = msgspec.structs.replace(rejected, result=Result.ACCEPTED, reason=None,
                                   at=START - timedelta(seconds=1))  # fmt: skip
    for answer in (rejected, late, Answer(result=Result.REJECTED, at=START)):
        await world.say("answer", answer)
    async with world.room.transaction() as conn:
        rows = await conn.dicts("SELECT last_result, last_reason FROM gateway.command_log_v1")
    assert rows == [{"last_result": "REJECTED", "last_reason": "BUSY"}]


async def test_answers_in_one_batch_are_stored_in_their_order(world: World) -> None:
    first, second = uuid4(), uuid4()
    async with world.room.transaction() as conn:
        for command_id in (first, second):
            await conn.execute(
                "SELECT gateway.admit_command_v1(%(id)s, %(vin)s, 'TEST', 'test', NULL, '{}',"
                " %(now)s, 10)",
                {"id": command_id, "vin": VIN, "now": START},
            )
    said = [
        (first, Result.ACCEPTED), (second, Result.ACCEPTED), (first, Result.DEFERRED),
        (uuid4(), Result.APPLIED), (first, Result.APPLIED),
    ]  # fmt: skip
    for command_id, result in said:  # without waiting, so that one transaction has them all
        payload = encode(Answer(result=result, at=START, command_id=command_id))
        await world.vehicle.publish(f"{PREFIX}/{VIN}/answer", payload)
    await world.all_acknowledged()
    async with world.room.transaction() as conn:
        rows = await conn.dicts("SELECT command_id, last_result FROM gateway.command_log_v1")
    assert {row["command_id"]: row["last_result"] for row in rows} == {
        first: "APPLIED",
        second: "ACCEPTED",
    }


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"caas_gateway_{name}", labels) or 0.0


async def test_commands_that_come_back_are_counted_and_timed(world: World) -> None:
    command_id = uuid4()
    async with world.room.transaction() as conn:
        await conn.execute(
            "SELECT gateway.admit_command_v1(%(id)s, %(vin)s, 'CONFIGURE', 'test', NULL, '{}',"
            " %(at)s, 10)",
            {"id": command_id, "vin": VIN, "at": START - timedelta(seconds=2)},
        )
    applied = {"kind": "CONFIGURE", "result": "APPLIED", "reason": ""}
    names = ("command_answer_seconds", "command_config_seconds")
    before = {
        "answers": counted("command_answers_total", **applied),
        "replayed": counted("signature_failures_total", reason="REPLAYED"),
        **{name: counted(f"{name}_count") for name in names},
        **{f"{name} sum": counted(f"{name}_sum") for name in names},
    }
    answer = Answer(result=Result.APPLIED, at=START, command_id=command_id, seq=1)
    config = ReportedConfig(
        at=START, seq=1, firmware="2.4.1", model="AURORA", values=[], digest=digest_of([])
    )
    # Each comes twice, as it may over a lost connection, and is counted once.
    for _ in range(2):
        await world.say("answer", answer)
        await world.say("config", config)
    await world.say("answer", Answer(result=Result.REJECTED, at=START, reason=Reason.REPLAYED))
    after = {
        "answers": counted("command_answers_total", **applied),
        "replayed": counted("signature_failures_total", reason="REPLAYED"),
        **{name: counted(f"{name}_count") for name in names},
        **{f"{name} sum": counted(f"{name}_sum") for name in names},
    }
    risen = {name: after[name] - before[name] for name in before}
    assert risen.pop("command_answer_seconds sum") == pytest.approx(2.0)
    assert risen.pop("command_config_seconds sum") == pytest.approx(2.0)
    assert risen == dict.fromkeys(("answers", "replayed", *names), 1)


async def test_a_confirmed_link_becomes_a_job(world: World) -> None:
    event = VehicleEvent(event_id=uuid4(), at=START, type=EventType.LINK_CONFIRMED, code="482913")
    await world.say("event", event)
    await world.say("event", VehicleEvent(event_id=uuid4(), at=START, type=EventType.BOOT))
    async with world.room.transaction() as conn:
        (job,) = await conn.dicts("SELECT task_name, args FROM jobs.procrastinate_jobs")
    assert job["task_name"] == "api.link_confirmed"
    payload = job["args"]["payload"]
    assert (payload["vin"], payload["code"]) == (VIN, "482913")
    assert payload["event_id"] == str(event.event_id)


@pytest.mark.parametrize(
    ("vin", "topic", "payload", "reason"),
    [
        (VIN, "status", b"{", "NOT_JSON"),
        (VIN, "presence", b"{}", "MALFORMED"),
        (VIN, "config", b" " * (256 * 1024 + 1), "TOO_LARGE"),
        (VIN, "event", b"[" * 100_000, "MALFORMED"),
        (VIN, "answer", b'{"result":"REPORT","at":"9999-01-01T00:00:00Z"}', "FROM_THE_FUTURE"),
        (VIN, "answer", b'{"result":"REPORT","at":"0001-01-01T00:00:00+14:00"}', "MALFORMED"),
        (VIN, "answer", b'{"result":"REPORT","at":"2026-01-01T00:00:00Z","detail":"\\u0000"}',
         "MALFORMED"),
        ("short", "status", b"{}", "BAD_TOPIC"),
        ("VF1AURXRA00000033", "telemetry", b"{}", "UNKNOWN_VIN"),
    ],
)  # fmt: skip
async def test_what_cannot_be_used_is_counted_and_stops_nothing(
    world: World, vin: str, topic: str, payload: bytes, reason: str
) -> None:
    before = unusable(reason)
    await world.say(topic, payload, vin)
    assert unusable(reason) == before + 1
    await world.online()
    assert await world.state() == "ONLINE"


async def test_odd_values_that_fit_their_type_are_kept(world: World) -> None:
    values = [1e308, -1e308, 5e-324, 2**53 - 1, "\\u0000", "🚗", "", True]
    settings = [{"module": "M", "parameter": str(n), "value": v} for n, v in enumerate(values)]
    config = {"at": "1970-01-01T00:00:00Z", "seq": 2**53 - 1, "firmware": "", "model": "",
              "digest": "", "values": settings}  # fmt: skip
    await world.say("config", json.dumps(config).encode())
    kept = [s["value"] for s in (await world.row())["reported_values"]]
    # jsonb writes a large number out, so it comes back as an integer.
    assert [float(v) if isinstance(v, int) else v for v in kept] == values
