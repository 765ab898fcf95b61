"""Commands for a vehicle behind a foreign API: the bus cannot tell it from any other."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from core.contracts.bus import (
    Answer,
    CommandKind,
    Operational,
    Presence,
    PresenceMessage,
    Reason,
    ReportedConfig,
    Result,
    VehicleStatus,
)
from core.contracts.jws import new_signing_key, sign
from core.contracts.topics import RETAINED
from tests.broker_fixtures import RunningBroker
from tests.foreign.world import HIGH, OTHER_VIN, VIN, World, running
from tests.gateway.conftest import eventually


def results(world: World, vin: str = VIN) -> list[str]:
    return [answer.result.value for answer in world.all(Answer, vin)]


async def test_it_connects_like_a_vehicle(world: World, mosquitto_broker: RunningBroker) -> None:
    online = await world.hears(PresenceMessage)
    assert (online.state, online.boot) == (Presence.ONLINE, 1)
    config = await world.hears(ReportedConfig)
    assert (config.seq, config.model, config.firmware) == (0, "AURORA", "2.4.1")
    assert len(config.values) == 6
    status = await world.hears(VehicleStatus)
    assert (status.operational, status.signal_pct) == (Operational.PARKED, 80)
    assert await world.retained(mosquitto_broker) == RETAINED

    async def is_online() -> bool:
        found = world.rows("SELECT presence FROM gateway.vehicle_v1 WHERE vin = %s", VIN)
        return found == [("ONLINE",)]

    await eventually(is_online, "the registry has it ONLINE")


async def test_configure_is_applied_and_proved(world: World) -> None:
    command = await world.order()
    assert (await world.answer(command, Result.ACCEPTED)).seq == 1
    applied = await world.answer(command, Result.APPLIED)
    proof = await world.hears(ReportedConfig, lambda c: c.seq == 1)
    assert HIGH[0] in proof.values
    kinds = [type(item) for _, item in world.heard]
    assert kinds.index(ReportedConfig, world.heard.index((VIN, applied))) > 0
    (order,) = world.api.orders
    assert order.request_id == str(command.command_id)
    assert order.body["serviceId"] == "PERF_BOOST_50"
    assert order.body["configuration"]["parameters"] == {"ENGINE_CONTROL.power_mode": "HIGH"}
    assert order.body["duration"]["type"] == "PERMANENT"


async def test_a_known_command_gets_its_last_answer_and_is_not_ordered_again(world: World) -> None:
    command = await world.order()
    await world.answer(command, Result.APPLIED)
    await world.send(command)
    await world.hears(Answer, lambda a: a.result is Result.APPLIED, after=2)
    assert len(world.api.orders) == 1
    assert world.api.calls.count("configure") == 1


async def test_duties_of_a_vehicle(world: World) -> None:
    first = await world.order()
    await world.answer(first, Result.APPLIED)
    replay = await world.order(seq=1)
    assert (await world.answer(replay)).reason is Reason.REPLAYED
    late = await world.order(lives_s=-1)
    assert (await world.answer(late)).reason is Reason.EXPIRED
    astray = await world.order(vin=OTHER_VIN)
    await world.send(msgspec.structs.replace(astray, command_id=first.command_id, seq=9), VIN)
    wrong = await world.hears(Answer, lambda a: a.reason is Reason.WRONG_VEHICLE)
    assert wrong.seq == 9
    forged = msgspec.structs.replace(first, seq=50)
    await world.raw(sign(forged, new_signing_key()))
    bad = await world.hears(Answer, lambda a: a.reason is Reason.BAD_SIGNATURE)
    assert (bad.command_id, bad.seq) == (first.command_id, 50)
    await world.raw(b"nonsense")
    await world.hears(Answer, lambda a: a.reason is Reason.BAD_SIGNATURE and a.seq is None)
    assert len([o for o in world.api.orders if o.body["vin"] == VIN]) == 1


async def test_a_driving_vehicle_defers_and_says_when_it_parks(world: World) -> None:
    world.api.vehicles[VIN].operational = "RUNNING"
    command = await world.order()
    deferred = await world.answer(command)
    assert (deferred.result, deferred.reason) == (Result.DEFERRED, Reason.UNSAFE_STATE)
    assert world.api.orders == []
    world.api.vehicles[VIN].operational = "PARKED"
    status = await world.hears(
        VehicleStatus, lambda s: s.operational is Operational.PARKED and s.at >= deferred.at
    )
    assert status.at >= deferred.at
    again = await world.order()
    await world.answer(again, Result.APPLIED)


async def test_query_test_and_display(world: World) -> None:
    await world.hears(VehicleStatus)
    reports, statuses = len(world.all(ReportedConfig)), len(world.all(VehicleStatus))
    query = await world.order(kind=CommandKind.QUERY)
    await world.answer(query, Result.REPORT)
    await world.hears(ReportedConfig, after=reports)
    await world.hears(VehicleStatus, after=statuses)
    test = await world.order(kind=CommandKind.TEST)
    await world.answer(test, Result.REPORT)
    text = await world.order(kind=CommandKind.DISPLAY, text="hello", level="INFO")
    assert (await world.answer(text)).reason is Reason.INCOMPATIBLE
    assert world.api.orders == []


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, "MALFORMED", Reason.MALFORMED),
        (403, "VEHICLE_FORBIDDEN", Reason.MALFORMED),
        (404, "UNKNOWN_VIN", Reason.INCOMPATIBLE),
        (409, "CONFLICT", Reason.CONFLICT),
        (422, "UNKNOWN_PARAMETER", Reason.UNKNOWN_PARAMETER),
        (422, "INVALID_VALUE", Reason.INVALID_VALUE),
        (422, "SOMETHING_ELSE", Reason.INCOMPATIBLE),
    ],
)
async def test_what_the_api_refuses(world: World, status: int, code: str, reason: Reason) -> None:
    world.api.fail("configure", status, code)
    answer = await world.answer(await world.order())
    assert (answer.result, answer.reason) == (Result.REJECTED, reason)
    assert str(status) in (answer.detail or "")
    assert code in (answer.detail or "")


async def test_what_passes_is_tried_again_under_the_same_id(world: World) -> None:
    world.api.fail("configure", 503)
    world.api.fail("configure", 409, "COMMAND_IN_PROGRESS")
    world.api.fail("configure", 429, "RATE_LIMITED", **{"Retry-After": "0"})
    command = await world.order()
    await world.answer(command, Result.APPLIED)
    assert world.api.calls.count("configure") == 4
    assert len(world.api.orders) == 1
    assert results(world) == ["ACCEPTED", "APPLIED"]


async def test_a_quota_longer_than_the_command_defers_it_and_says_no_status_before(
    world: World,
) -> None:
    await world.hears(VehicleStatus)
    world.api.fail("configure", 429, "RATE_LIMITED", **{"Retry-After": "2"})
    command = await world.order(lives_s=1.5)
    deferred = await world.answer(command)
    assert (deferred.result, deferred.reason) == (Result.DEFERRED, Reason.BUSY)
    status = await world.hears(VehicleStatus, lambda s: s.at > deferred.at)
    assert (status.at - deferred.at).total_seconds() >= 1.8


async def test_an_api_that_is_away_until_the_end_is_EXPIRED(world: World) -> None:
    for _ in range(4):
        world.api.fail("configure", 500)
    world.api.answers["configure"] *= 10
    answer = await world.answer(await world.order(lives_s=1.0))
    assert (answer.result, answer.reason) == (Result.REJECTED, Reason.EXPIRED)
    assert world.api.orders == []


@pytest.mark.parametrize(
    ("code", "result", "reason"),
    [
        ("BUSY", Result.REJECTED, Reason.BUSY),
        ("TIMEOUT", Result.REJECTED, Reason.EXPIRED),
        ("UNSAFE_STATE", Result.DEFERRED, Reason.UNSAFE_STATE),
        ("REPLAYED", Result.REJECTED, Reason.EXPIRED),
        ("BAD_SIGNATURE", Result.REJECTED, Reason.FIRMWARE_ERROR),
        ("OEM_4711", Result.REJECTED, Reason.FIRMWARE_ERROR),
    ],
)
async def test_how_a_failure_there_is_told_here(
    world: World, code: str, result: Result, reason: Reason
) -> None:
    world.api.mood = code
    command = await world.order()
    answer = await world.hears(
        Answer, lambda a: a.command_id == command.command_id and a.result is not Result.ACCEPTED
    )
    assert (answer.result, answer.reason) == (result, reason)
    assert code in (answer.detail or "")


async def test_a_vehicle_that_deferred_there_says_its_status_again(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(
        database, mosquitto_broker, tmp_path, monkeypatch, CAAS_FOREIGN_UNSAFE_QUIET_S="1"
    ) as world:
        await world.hears(VehicleStatus)
        world.api.mood = "UNSAFE_STATE"
        command = await world.order()
        deferred = await world.answer(command, Result.DEFERRED)
        # PARKED as before: but the engine waits for it to be said after the deferral.
        status = await world.hears(VehicleStatus, lambda s: s.at >= deferred.at)
        assert (status.at - deferred.at).total_seconds() >= 0.9


async def test_an_api_that_says_only_what_DOMAIN_9_has(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(database, mosquitto_broker, tmp_path, monkeypatch, callbacks=False) as world:
        world.api.reports = False
        first = await world.hears(ReportedConfig)
        values = {f"{v.module}.{v.parameter}": v.value for v in first.values}
        assert values["ENGINE_CONTROL.power_mode"] == "NORMAL"
        assert values["TRACTION_CONTROL.snow_mode_available"] == 0
        command = await world.order()
        await world.answer(command, Result.APPLIED)
        proof = await world.hears(ReportedConfig, lambda c: c.seq == command.seq)
        assert HIGH[0] in proof.values
        assert len(proof.values) == len(first.values)


async def test_a_vehicle_waits_for_nobody_elses_call(world: World) -> None:
    await world.hears(VehicleStatus, vin=OTHER_VIN)
    world.api.hang = asyncio.Event()
    slow = await world.order()

    async def called() -> bool:
        return "configure" in world.api.calls

    await eventually(called, "the slow call is out")
    query = await world.order(kind=CommandKind.QUERY, vin=OTHER_VIN)
    await world.answer(query, Result.REPORT)
    world.api.hang.set()
    await world.answer(slow, Result.APPLIED)


async def test_configurations_keep_their_order(world: World) -> None:
    world.api.fail("configure", 503)
    off = msgspec.structs.replace(HIGH[0], value="NORMAL")
    first, second = await world.order(), await world.order([off])
    await world.answer(first, Result.APPLIED)
    await world.answer(second, Result.APPLIED)
    ids = [order.request_id for order in world.api.orders]
    assert ids == [str(first.command_id), str(second.command_id)]
    assert world.api.vehicles[VIN].values["ENGINE_CONTROL.power_mode"] == "NORMAL"
