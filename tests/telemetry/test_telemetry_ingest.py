"""From the bus into a real database: once each, and acknowledged after the commit."""

import asyncio
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.bus.batches import INTERRUPTIONS
from core.contracts.bus import (
    Answer,
    EventType,
    Operational,
    ParameterSetting,
    Presence,
    PresenceMessage,
    ReportedConfig,
    Result,
    Sample,
    Stored,
    TelemetryBatch,
    VehicleEvent,
    VehicleStatus,
    digest_of,
)
from telemetry.reading import list_quarantine
from tests.telemetry.conftest import OTHER_VIN, UNKNOWN_VIN, VIN, World, enroll, eventually, now_ms

DAY_MS = 86_400_000


def batch(n: int, *times: int, boot: int = 1, **values: Any) -> TelemetryBatch:
    return TelemetryBatch(boot=boot, n=n, samples=[Sample(t=t, **values) for t in times])


async def test_samples_land_once_and_are_receipted(world: World) -> None:
    t = now_ms()
    async with world.ingestor():
        await world.say(VIN, "telemetry", batch(0, t, t + 1, speed_kmh=87.5, extra={"x": 241}))
        await world.say(VIN, "telemetry", batch(1, t + 2, speed_kmh=88.0))
        await world.say(VIN, "telemetry", batch(0, t, t + 1, speed_kmh=87.5, extra={"x": 241}))
        await world.say(OTHER_VIN, "telemetry", batch(4, t))
        await world.until("SELECT count(*) FROM telemetry.sample", 4)
        await world.all_acknowledged()

        async def receipted() -> bool:
            return (VIN, Stored(boot=1, n=1)) in world.receipts and (
                OTHER_VIN, Stored(boot=1, n=4, missing=[0, 1, 2, 3])
            ) in world.receipts  # fmt: skip

        await eventually(receipted, "both vehicles have their receipts")
    assert world.rows("SELECT vin, speed_kmh, extra FROM telemetry.sample_v1 ORDER BY vin, t") == [
        (VIN, 87.5, {"x": 241}), (VIN, 87.5, {"x": 241}), (VIN, 88.0, None),
        (OTHER_VIN, None, None),
    ]  # fmt: skip
    stored_t = world.rows("SELECT t FROM telemetry.sample_v1 WHERE vin = %s LIMIT 1", OTHER_VIN)
    assert stored_t == [(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=t),)]


async def test_a_backlog_of_weeks_lands_and_does_not_hide_the_latest(world: World) -> None:
    t = now_ms()
    async with world.ingestor():
        await world.say(VIN, "telemetry", batch(9, t, speed_kmh=50.0))
        await world.until("SELECT count(*) FROM telemetry.sample", 1)
        days = [t - day * DAY_MS for day in (7, 8, 21, 60)]
        await world.say(VIN, "telemetry", batch(1, *days, speed_kmh=1.0))
        await world.until("SELECT count(*) FROM telemetry.sample", 5)
    assert world.rows("SELECT speed_kmh FROM telemetry.latest_v1 WHERE vin = %s", VIN) == [(50.0,)]


async def test_nothing_is_acknowledged_before_it_is_committed(world: World) -> None:
    session_of = world.broker._sessions
    with psycopg.connect(world.dsn) as blocker:
        blocker.execute("LOCK TABLE telemetry.receipt IN EXCLUSIVE MODE")
        async with world.ingestor():
            await world.say(VIN, "telemetry", batch(0, now_ms()))

            async def at_the_lock() -> bool:
                return bool(world.rows("SELECT 1 FROM pg_locks WHERE NOT granted"))

            await eventually(at_the_lock, "the ingestor waits inside its transaction")
            assert len(session_of["caas-telemetry-0"].unacked) == 1
            assert world.count("telemetry.sample") == 0
            blocker.rollback()
            await world.all_acknowledged()
            assert world.count("telemetry.sample") == 1


async def test_what_cannot_be_used_is_kept_with_its_reason(world: World) -> None:
    bad = [
        (VIN, "telemetry", b"{", "NOT_JSON"),
        (VIN, "status", b"{}", "MALFORMED"),
        (VIN, "event", b" " * (256 * 1024 + 1), "TOO_LARGE"),
        (VIN, "telemetry", json.dumps({"boot": 1, "n": 0, "samples": [{"t": 1}]}).encode(),
         "TOO_OLD"),
        (VIN, "telemetry", json.dumps({"boot": 1, "n": 1, "samples": [{"t": 1 << 50}]}).encode(),
         "FROM_THE_FUTURE"),
        ("not-a-vin", "telemetry", b"{}", "BAD_TOPIC"),
        (VIN, "telemetry", b'{"boot":1,"n":2,"samples":[{"t":1,"extra":{"\\u0000":1}}]}',
         "MALFORMED"),
    ]  # fmt: skip
    async with world.ingestor():
        for vin, topic, payload, _ in bad:
            await world.say(vin, topic, payload)
        await world.say(UNKNOWN_VIN, "telemetry", batch(0, now_ms()))
        await world.until("SELECT count(*) FROM telemetry.quarantine", len(bad) + 1)
        await world.all_acknowledged()

        async def receipted() -> bool:
            return world.receipts == [(VIN, Stored(boot=1, n=2))]

        await eventually(receipted, "what is kept in the quarantine need not be sent again")
    async with world.database.transaction() as conn:
        kept = await list_quarantine(conn)
        assert [q.reason for q in await list_quarantine(conn, reason="TOO_OLD")] == ["TOO_OLD"]
    assert sorted((q.reason, len(q.payload)) for q in kept if q.reason != "UNKNOWN_VIN") == sorted(
        (reason, len(payload)) for _, _, payload, reason in bad
    )
    assert any(UNKNOWN_VIN in q.topic for q in kept if q.reason == "UNKNOWN_VIN")


async def test_a_vehicle_enrolled_later_is_known_at_once(world: World) -> None:
    async with world.ingestor():
        await world.say(UNKNOWN_VIN, "telemetry", batch(0, now_ms()))
        await world.until("SELECT count(*) FROM telemetry.quarantine", 1)
        enroll(world.dsn, UNKNOWN_VIN)
        await world.say(UNKNOWN_VIN, "telemetry", batch(1, now_ms()))
        await world.until("SELECT count(*) FROM telemetry.sample", 1)


async def test_a_message_the_database_refuses_holds_up_no_other(world: World) -> None:
    t = now_ms()
    # Too long for a row of an index, and random, so that compression does not save it.
    poison = PresenceMessage(
        state=Presence.ONLINE, at=datetime.now(UTC), session=secrets.token_hex(20_000), boot=1
    )
    async with world.ingestor():
        for n in range(20, 30):
            await world.say(VIN, "telemetry", batch(n, t + n))
        await world.say(VIN, "presence", poison)
        for n in range(30, 40):
            await world.say(OTHER_VIN, "telemetry", batch(n, t + n))
        await world.until("SELECT count(*) FROM telemetry.sample", 20)
        await world.until("SELECT count(*) FROM telemetry.quarantine", 1)
        await world.all_acknowledged()
    assert world.rows("SELECT reason FROM telemetry.quarantine") == [("UNSTORABLE",)]


async def test_each_kind_has_its_log_and_its_latest(world: World) -> None:
    at = datetime.now(UTC)
    values = [ParameterSetting("HVAC", "climate_zones", 4)]
    status = VehicleStatus(
        at=at, operational=Operational.PARKED, firmware="2.4.1", signal_pct=80.0, soc_pct=64.0
    )
    config = ReportedConfig(
        at=at, seq=3, firmware="2.4.1", model="AURORA", values=values, digest=digest_of(values)
    )
    event = VehicleEvent(event_id=uuid4(), at=at, type=EventType.DTC_SET, code="P0A0F")
    answer = Answer(result=Result.APPLIED, at=at, command_id=uuid4(), seq=3)
    unread = Answer(result=Result.REJECTED, at=at)
    said = [("status", status), ("config", config), ("event", event), ("answer", answer),
            ("answer", unread)]  # fmt: skip
    async with world.ingestor():
        for _ in range(2):
            for topic, body in said:
                await world.say(VIN, topic, body)
        await world.all_acknowledged()
    for table, rows in (("status_log", 1), ("config_log", 1), ("event", 1), ("answer_log", 2)):
        assert world.count(f"telemetry.{table}") == rows, table
    latest = world.rows(
        "SELECT vin, operational, reported_seq, reported, status->>'soc_pct', firmware"
        " FROM telemetry.latest_v1"
    )
    reported = [{"module": "HVAC", "parameter": "climate_zones", "value": 4}]
    assert latest == [(VIN, "PARKED", 3, reported, "64.0", "2.4.1")]
    assert world.rows("SELECT type, code FROM telemetry.event_v1") == [("DTC_SET", "P0A0F")]


async def test_a_late_will_of_an_old_session_changes_nothing(world: World) -> None:
    start = datetime.now(UTC)

    def presence(state: Presence, session: str, seconds: int) -> PresenceMessage:
        return PresenceMessage(
            state=state, at=start + timedelta(seconds=seconds), session=session, boot=1
        )

    async def latest(state: str, session: str, logged: int) -> None:
        await world.until("SELECT count(*) FROM telemetry.connectivity_v1", logged)
        found = world.rows("SELECT presence, session FROM telemetry.latest_v1")
        assert found == [(state, session)]

    async with world.ingestor():
        await world.say(VIN, "presence", presence(Presence.ONLINE, "one", 1))
        await world.say(VIN, "presence", presence(Presence.ONLINE, "two", 10))
        await world.say(VIN, "presence", presence(Presence.OFFLINE, "one", 0))
        await latest("ONLINE", "two", 3)
        await world.say(VIN, "presence", presence(Presence.OFFLINE, "two", 9))
        await latest("OFFLINE", "two", 4)
        # Its own session is over for good; the next one is not.
        await world.say(VIN, "presence", presence(Presence.ONLINE, "two", 11))
        await latest("OFFLINE", "two", 5)
        await world.say(VIN, "presence", presence(Presence.ONLINE, "three", 20))
        await latest("ONLINE", "three", 6)


async def test_two_ingestors_share_the_work_without_deadlock(world: World) -> None:
    t = now_ms()
    async with world.ingestor("caas-telemetry-0"), world.ingestor("caas-telemetry-1"):
        for n in range(150):
            for vin in (VIN, OTHER_VIN):
                await world.say(vin, "telemetry", batch(n, t + n, t + n + 1))
        await world.until("SELECT count(*) FROM telemetry.sample", 302)

        async def complete() -> bool:
            done = {vin for vin, r in world.receipts if r == Stored(boot=1, n=149)}
            return done == {VIN, OTHER_VIN}

        await eventually(complete, "the receipts are complete whoever stored what")


async def test_stopping_stores_what_was_received(world: World) -> None:
    t = now_ms()
    async with world.ingestor():
        await asyncio.gather(*(world.say(VIN, "telemetry", batch(n, t + n)) for n in range(300)))
    assert world.count("telemetry.sample") == 300
    assert world.receipts[-1] == (VIN, Stored(boot=1, n=299))


async def test_a_database_that_goes_away_is_waited_for(world: World) -> None:
    t = now_ms()
    async with world.ingestor():
        await world.say(VIN, "telemetry", batch(0, t))
        await world.until("SELECT count(*) FROM telemetry.sample", 1)
        name = world.dsn.rpartition("/")[2]
        with psycopg.connect(world.dsn.replace(name, "postgres"), autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            before = INTERRUPTIONS._value.get()
            await world.say(VIN, "telemetry", batch(1, t + 1))

            async def interrupted() -> bool:
                return INTERRUPTIONS._value.get() > before

            await eventually(interrupted, "the ingestor has tried in vain")
            assert len(world.broker._sessions["caas-telemetry-0"].unacked) == 1
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        await world.until("SELECT count(*) FROM telemetry.sample", 2)
        await world.all_acknowledged()


EDGE = st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, 1e16])
TEXT = st.text(max_size=20)


@st.composite
def valid_messages(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Messages that fit their type but are as odd as a type allows."""
    topic = draw(st.sampled_from(["telemetry", "status", "config", "event", "answer", "presence"]))
    at = draw(st.sampled_from(["1970-01-01T00:00:00Z", "2026-02-28T23:59:59.999999+14:00"]))
    counter = st.sampled_from([0, 1, 2**53 - 1])
    bodies: dict[str, st.SearchStrategy[dict[str, Any]]] = {
        "telemetry": st.fixed_dictionaries({
            "boot": counter, "n": counter,
            "samples": st.lists(st.fixed_dictionaries({
                "t": st.just(now_ms()), "lat": EDGE, "extra": st.dictionaries(TEXT, EDGE),
            }), min_size=1, max_size=3),
        }),
        "status": st.fixed_dictionaries({
            "at": st.just(at), "operational": st.just("OFF"), "firmware": TEXT,
            "signal_pct": st.just(1), "error_codes": st.lists(TEXT, max_size=2),
        }),
        "config": st.fixed_dictionaries({
            "at": st.just(at), "seq": counter, "firmware": TEXT, "model": TEXT, "digest": TEXT,
            "values": st.lists(st.fixed_dictionaries({
                "module": TEXT, "parameter": TEXT, "value": EDGE | TEXT | st.booleans(),
            }), max_size=2),
        }),
        "event": st.fixed_dictionaries({
            "event_id": st.uuids().map(str), "at": st.just(at), "type": st.just("BOOT"),
            "detail": TEXT,
        }),
        "answer": st.fixed_dictionaries({
            "at": st.just(at), "result": st.just("REPORT"), "detail": TEXT, "seq": counter,
        }),
        "presence": st.fixed_dictionaries({
            "at": st.just(at), "state": st.sampled_from(["ONLINE", "OFFLINE"]), "session": TEXT,
            "boot": counter,
        }),
    }  # fmt: skip
    return topic, draw(bodies[topic])


async def test_what_fits_its_type_can_be_stored_or_is_kept(world: World) -> None:
    sent: list[tuple[str, bytes]] = []

    @settings(max_examples=150, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(valid_messages())
    def collect(message: tuple[str, dict[str, Any]]) -> None:
        sent.append((message[0], json.dumps(message[1]).encode()))

    collect()
    async with world.ingestor():
        for topic, payload in sent:
            await world.say(VIN, topic, payload)
        await world.all_acknowledged()
        await world.say(VIN, "telemetry", batch(7, now_ms() - 1, boot=77))
        await world.until("SELECT count(*) FROM telemetry.receipt WHERE boot = 77", 1)
    reasons = {reason for (reason,) in world.rows("SELECT reason FROM telemetry.quarantine")}
    assert reasons <= {"MALFORMED", "NOT_JSON"}, reasons
