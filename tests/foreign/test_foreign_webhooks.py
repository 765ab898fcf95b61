"""Callbacks and pushed telemetry: signed, fresh, once; polling covers those that are lost."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.contracts.bus import Answer, Reason, ReportedConfig, Result, TelemetryBatch
from core.ids import new_id
from tests.broker_fixtures import RunningBroker
from tests.foreign.standin import Order, send_signed
from tests.foreign.world import HIGH, OTHER_VIN, VIN, World, running
from tests.gateway.conftest import eventually


async def ordered(world: World, *, lives_s: float = 60.0) -> Order:
    """A command that the API has, and that goes no further by itself."""
    world.api.mood = "hold"
    command = await world.order(lives_s=lives_s)
    await world.answer(command, Result.ACCEPTED)
    return world.api.orders[-1]


async def test_a_callback_ends_a_command(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(
        database, mosquitto_broker, tmp_path, monkeypatch, api_options={"command_poll_s": 3600}
    ) as world:
        order = await ordered(world)
        world.api.finish(order)
        assert (await world.api.call_back(order)).status_code == 200
        await world.hears(Answer, lambda a: a.result is Result.APPLIED)
        proof = await world.hears(ReportedConfig, lambda c: c.seq == 1)
        assert HIGH[0] in proof.values
        assert "command" not in world.api.calls  # nobody had to ask

        world.api.mood = "hold"
        second = await world.order()
        await world.answer(second, Result.ACCEPTED)
        order = world.api.orders[-1]
        world.api.finish(order, "FIRMWARE_ERROR")
        assert (await world.api.call_back(order)).status_code == 200
        answer = await world.answer(second, Result.REJECTED)
        assert answer.reason is Reason.FIRMWARE_ERROR


async def test_a_lost_callback_is_covered_by_asking(world: World) -> None:
    order = await ordered(world)
    world.api.finish(order)
    await world.hears(Answer, lambda a: a.result is Result.APPLIED)


async def test_a_callback_counts_once(world: World) -> None:
    order = await ordered(world)
    world.api.finish(order)
    for _ in range(3):
        assert (await world.api.call_back(order, message_id="m-1")).status_code == 200
    await world.hears(Answer, lambda a: a.result is Result.APPLIED)
    assert world.rows("SELECT source, message_id FROM gateway.foreign_inbox") == [
        ("stand-in", "m-1")
    ]
    # Another delivery of what is told already says nothing anew.
    assert (await world.api.call_back(order, message_id="m-2")).status_code == 200
    await world.hears(ReportedConfig, lambda c: c.seq == 1)
    assert [a.result.value for a in world.all(Answer)] == ["ACCEPTED", "APPLIED"]


async def test_a_forger_changes_nothing(world: World) -> None:
    order = await ordered(world)
    body: dict[str, Any] = {
        "requestId": order.request_id,
        "commandId": order.command_id,
        "vin": VIN,
        "status": "FAILED",
        "errorCode": "FIRMWARE_ERROR",
        "timestamp": "2026-11-24T08:00:00Z",
    }
    url = world.api.callback_url
    assert url is not None
    forged = await send_signed(url, body, secret="guess")
    assert (forged.status_code, forged.json()["error"]["code"]) == (401, "BAD_SIGNATURE")
    old = datetime.now(UTC) - timedelta(minutes=6)
    stale = await send_signed(url, body, at=old)
    assert (stale.status_code, stale.json()["error"]["code"]) == (401, "STALE_WEBHOOK")
    stranger = await send_signed(url, {**body, "vin": "WDBAURXRA00000017"})
    assert stranger.status_code == 401
    other = {**body, "vin": OTHER_VIN}  # of the same API, but not this command's vehicle
    assert (await send_signed(url, other)).status_code == 200
    other = {**body, "commandId": str(new_id())}  # not what the API itself called it
    assert (await send_signed(url, other)).status_code == 200
    for broken in ({**body, "status": "MAYBE"}, {"vin": VIN}, {**body, "errorCode": "a\0b"}):
        assert (await send_signed(url, broken)).status_code == 400
    async with httpx.AsyncClient(trust_env=False) as client:
        for raw in (b"", b"[]", b"{", b"\xff", b'{"vin": 5}', b"[" * 100_000):
            assert (await client.post(url, content=raw)).status_code in (400, 401)
        assert (await client.post(url, content=b"x" * 300_000)).status_code == 422
    world.api.finish(order)
    await world.hears(Answer, lambda a: a.result is Result.APPLIED)


async def test_success_after_giving_up_is_told(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(
        database, mosquitto_broker, tmp_path, monkeypatch, CAAS_FOREIGN_LATE_S="0"
    ) as world:
        order = await ordered(world, lives_s=1.5)
        await world.hears(Answer, lambda a: a.reason is Reason.EXPIRED)
        world.api.finish(order)
        assert (await world.api.call_back(order)).status_code == 200
        await world.hears(Answer, lambda a: a.result is Result.APPLIED)
        await world.hears(ReportedConfig, lambda c: c.seq == 1)


async def test_more_than_the_rate_is_429(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(
        database, mosquitto_broker, tmp_path, monkeypatch, CAAS_FOREIGN_CALLBACKS_PER_MIN="2"
    ) as world:
        order = await ordered(world)
        world.api.finish(order)
        answers = [await world.api.call_back(order) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60


async def test_pushed_telemetry_is_on_the_bus_when_it_is_answered(world: World) -> None:
    url = f"{world.urls[0]}/telemetry"
    sample = {"t": 1795507200000, "speed_kmh": 87.5, "state": "RUNNING", "extra": {"x": 1}}
    push = {"vin": VIN, "boot": 3, "n": 7, "samples": [sample]}
    answer = await send_signed(url, push)
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    batch = await world.hears(TelemetryBatch)
    assert (batch.boot, batch.n, batch.samples[0].speed_kmh) == (3, 7, 87.5)
    assert (await send_signed(url, push, secret="no")).status_code == 401
    broken = {**push, "samples": [{"speed_kmh": "fast"}]}
    assert (await send_signed(url, broken)).status_code == 400
    assert (await send_signed(url, {**push, "samples": []})).status_code == 400
    assert len(world.all(TelemetryBatch)) == 1


async def test_a_vehicle_of_ours_is_not_spoken_for(world: World) -> None:
    ours = "VF1AURXRA00000033"

    async with world.room.transaction() as conn:
        await conn.execute(
            "INSERT INTO gateway.vehicle (vin, model, firmware)"
            " VALUES ('VF1AURXRA00000033', 'AURORA', '2.4.1')"
        )
    push = {"vin": ours, "boot": 1, "n": 0, "samples": [{"t": 1795507200000}]}
    answer = await send_signed(f"{world.urls[0]}/telemetry", push)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "UNKNOWN_VIN")
    await world.order(vin=ours)
    known = await world.order()
    await world.answer(known, Result.APPLIED)  # and what came before it was let pass
    assert world.rows("SELECT DISTINCT vin FROM gateway.foreign_command") == [(VIN,)]


async def test_a_new_token_is_fetched_once_where_the_old_one_ended(world: World) -> None:
    command = await world.order()
    await world.answer(command, Result.APPLIED)
    assert world.api.tokens_given == 1
    world.api.tokens.clear()
    again = await world.order()
    await world.answer(again, Result.APPLIED)
    assert world.api.tokens_given == 2


async def test_credentials_that_are_refused_are_told_at_once(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "wrong").write_text("wrong")
    auth = {"kind": "oauth2", "client_id": "caas", "secret_file": "wrong"}
    async with running(
        database, mosquitto_broker, tmp_path, monkeypatch, api_options={"auth": auth}
    ) as world:
        answer = await world.answer(await world.order())
        assert (answer.result, answer.reason) == (Result.REJECTED, Reason.MALFORMED)
        assert "NO_TOKEN" in (answer.detail or "")


async def test_two_replicas_share_the_work(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(database, mosquitto_broker, tmp_path, monkeypatch, replicas=2) as world:
        commands = [await world.order(vin=vin) for _ in range(10) for vin in (VIN, OTHER_VIN)]
        await asyncio.gather(*(world.answer(command, Result.APPLIED) for command in commands))
        requests = [order.request_id for order in world.api.orders]
        assert sorted(requests) == sorted(str(command.command_id) for command in commands)
        for vin in (VIN, OTHER_VIN):
            applied = [a.seq for a in world.all(Answer, vin) if a.result is Result.APPLIED]
            assert applied == list(range(1, 11))


async def test_what_a_dead_replica_left_is_taken_up(world: World) -> None:
    order = await ordered(world)

    async def left() -> bool:
        # As one that died in the middle of its turn leaves it; not while a living one is in it.
        async with world.room.transaction() as conn:
            return (
                await conn.execute(
                    "UPDATE gateway.foreign_vehicle SET leased_until = now() + interval '1 second'"
                    " WHERE vin = 'VF1AURXRA00000017' AND leased_until IS NULL"
                )
                == 1
            )

    await eventually(left, "the vehicle is leased to nobody alive")
    world.api.finish(order)

    async def done() -> bool:
        return ("DONE",) in world.rows("SELECT state FROM gateway.foreign_command")

    await eventually(done, "the command is told to its end")
