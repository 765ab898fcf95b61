"""What a delivery does about every failure row of DOMAIN 7, on a real database."""

import pytest

from core.bus import BusUnavailable
from core.contracts.bus import CommandKind, Operational, Reason, Result
from core.contracts.jobs import PaymentReleased
from tests.ota_engine.world import OFFROAD_OFF, OFFROAD_ON, POWER_OFF, POWER_ON, World


async def test_timeout_queries_first_and_proof_in_it_needs_no_resend(world: World) -> None:
    """DOMAIN 7: no answer in time, query first; already active = success, no resend."""
    job = await world.buy()
    await world.later(300)
    [query] = world.commands(CommandKind.QUERY)
    await world.answer(query, Result.REPORT)
    await world.report(POWER_ON, 0)
    assert await world.state(job) == "ACTIVE"
    assert len(world.commands()) == 1


async def test_a_report_from_before_the_query_proves_nothing(world: World) -> None:
    """S6: what the broker kept for an engine that was away is not retained, and yet old."""
    job = await world.buy()
    await world.later(300)
    [query] = world.commands(CommandKind.QUERY)
    asked_at = world.clock.now()
    world.clock.advance(-200)
    await world.report(POWER_ON, 0)
    world.clock.advance(200)
    assert world.clock.now() == asked_at
    assert await world.state(job) == "ATTEMPTING"
    await world.answer(query, Result.REPORT)
    world.clock.advance(-200)
    await world.report(POWER_ON, 0)
    world.clock.advance(200)
    assert await world.state(job) == "ATTEMPTING"
    assert await world.deferred("api.capture_payment") == []
    await world.report(POWER_ON, 0)
    assert await world.state(job) == "ACTIVE"


async def test_timeouts_use_the_retries_up_and_end_without_charge(world: World) -> None:
    """DOMAIN 7: delays 30/60 s, then the final failure sequence; DOMAIN 6: ESCALATED rows."""
    job = await world.buy()
    for delay in (30, 60):
        await world.later(300)
        await world.later(30)
        assert await world.state(job) == "RETRY_SCHEDULED"
        sent = len(world.commands())
        await world.later(delay - 1)
        assert len(world.commands()) == sent
        await world.later(1)
        assert len(world.commands()) == sent + 1
    await world.later(300)
    await world.later(30)
    assert await world.state(job) == "ESCALATED"
    assert await world.deferred("api.release_payment") == []
    await world.later(30)  # the car does not answer the last query either
    [ticket] = await world.tickets()
    assert (ticket["kind"], ticket["priority"]) == ("ACTIVATION", "HIGH")
    assert len(ticket["package"]["attempts"]) == 3
    assert ticket["package"]["payload_tried"]["values"][0]["value"] == "HIGH"
    [release] = await world.deferred("api.release_payment")
    assert release["payment_id"] == str(job.payment_id)
    assert await world.state(job) == "ESCALATED"
    for _ in range(2):
        await world.do(PaymentReleased(activation_id=job.activation_id, outcome="VOIDED"))
    row = await world.activation(job.activation_id)
    assert (row["state"], row["charged"]) == ("FAILED_NO_CHARGE", False)
    assert (row["final_result"], row["ticket_number"]) == ("FAILED_NO_CHARGE", ticket["number"])
    assert [result for _, result, _ in await world.attempts(job)] == [
        "FAILED_RETRY",
        "FAILED_RETRY",
        "FAILED_ESCALATE",
    ]
    told = [n for n in await world.deferred("api.notify") if n["event"] == "activation_failed"]
    assert [n["data"]["ticket_number"] for n in told] == [ticket["number"]]
    assert await world.deferred("api.capture_payment") == []


async def test_an_offline_car_waits_longer_and_is_tried_at_once_when_it_comes(
    world: World,
) -> None:
    """DOMAIN 7: offline, longer gaps; a vehicle coming online during a wait is tried at once."""
    await world.vehicle("OFFLINE")
    job = await world.buy()
    assert (await world.state(job), world.commands()) == ("ATTEMPTING", [])
    await world.later(300)
    assert await world.attempts(job) == [(1, "FAILED_RETRY", "OFFLINE")]
    await world.later(119)
    assert await world.state(job) == "RETRY_SCHEDULED"
    await world.vehicle("ONLINE")
    await world.online()
    assert len(world.commands()) == 1
    await world.report(POWER_ON, world.last.seq)
    assert await world.state(job) == "ACTIVE"


async def test_a_car_that_comes_online_while_checked_is_commanded_at_once(world: World) -> None:
    """DOMAIN 7: not ready, poll; also where the message overtakes the registry or is missed."""
    await world.vehicle("OFFLINE")
    await world.buy()
    await world.online()
    assert len(world.commands()) == 1
    other = "VF1AURRA000000018"
    await world.vehicle("OFFLINE", vin=other)
    await world.buy(vin=other)
    await world.vehicle("ONLINE", vin=other)
    await world.later(5)
    assert len(world.commands()) == 2


async def test_deferred_uses_no_attempt_and_goes_on_when_parked(world: World) -> None:
    """DOMAIN 6: DEFERRED, WAITING_SAFE_STATE, safe state reported, ATTEMPTING: a new command."""
    job = await world.buy()
    first = world.last
    await world.answer(first, Result.DEFERRED, Reason.UNSAFE_STATE)
    assert await world.state(job) == "WAITING_SAFE_STATE"
    await world.later(600)
    await world.status(Operational.RUNNING)
    assert len(world.commands()) == 1
    await world.status(Operational.PARKED)
    assert len(world.commands()) == 2
    assert world.last.command_id != first.command_id
    await world.answer(world.last, Result.DEFERRED, Reason.UNSAFE_STATE)
    await world.later(1)
    await world.status(Operational.CHARGING)
    await world.report(POWER_ON, world.last.seq)
    row = await world.activation(job.activation_id)
    assert (row["state"], row["total_attempts"]) == ("ACTIVE", 1)
    assert (await world.notices()).count("activation_deferred") == 1


async def test_the_car_may_apply_the_deferred_command_itself(world: World) -> None:
    """DOMAIN 6: WAITING_SAFE_STATE, proof is proof."""
    job = await world.buy()
    await world.answer(world.last, Result.DEFERRED, Reason.UNSAFE_STATE)
    await world.report(POWER_ON, world.last.seq)
    assert await world.state(job) == "ACTIVE"


async def test_a_parked_status_that_overtook_the_deferral_is_not_missed(world: World) -> None:
    """A status newer than the deferral, by the car's clock, is looked up on entering the wait."""
    await world.buy()
    answered_at = world.clock.now()
    world.clock.advance(3)
    await world.vehicle(
        "ONLINE", operational="PARKED", status={"at": world.clock.now().isoformat()}
    )
    await world.answer(world.last, Result.DEFERRED, Reason.UNSAFE_STATE, at=answered_at)
    assert len(world.commands()) == 2


async def test_a_parked_status_from_before_the_deferral_costs_no_command(world: World) -> None:
    before = world.clock.now()
    await world.vehicle("ONLINE", operational="PARKED", status={"at": before.isoformat()})
    job = await world.buy()
    world.clock.advance(1)
    await world.answer(world.last, Result.DEFERRED, Reason.UNSAFE_STATE)
    await world.later(120)
    assert (await world.state(job), len(world.commands())) == ("WAITING_SAFE_STATE", 1)


async def test_a_safe_state_that_never_comes_is_escalated(world: World) -> None:
    """DOMAIN 6: WAITING_SAFE_STATE, 24 h over, ESCALATED."""
    job = await world.buy()
    await world.answer(world.last, Result.DEFERRED, Reason.UNSAFE_STATE)
    await world.later(86399)
    assert await world.state(job) == "WAITING_SAFE_STATE"
    await world.later(1)
    assert await world.state(job) == "ESCALATED"


async def test_rejected_for_an_unsafe_state_waits_like_a_deferral(world: World) -> None:
    """DOMAIN 7: driving, off: wait for state change."""
    job = await world.buy()
    await world.answer(world.last, Result.REJECTED, Reason.UNSAFE_STATE)
    assert await world.state(job) == "WAITING_SAFE_STATE"


async def test_busy_is_tried_again(world: World) -> None:
    """DOMAIN 7: busy, yes."""
    job = await world.buy()
    await world.answer(world.last, Result.REJECTED, Reason.BUSY)
    assert await world.state(job) == "RETRY_SCHEDULED"
    await world.later(30)
    assert len(world.commands()) == 2
    assert await world.state(job) == "ATTEMPTING"


async def test_expired_is_queried_first_and_the_cars_no_ends_the_query(world: World) -> None:
    """DOMAIN 7: EXPIRED, query first."""
    job = await world.buy()
    await world.answer(world.last, Result.REJECTED, Reason.EXPIRED)
    [query] = world.commands(CommandKind.QUERY)
    await world.answer(query, Result.REPORT)
    await world.report(POWER_OFF, 0)
    assert await world.state(job) == "RETRY_SCHEDULED"
    assert await world.attempts(job) == [(1, "FAILED_RETRY", "EXPIRED")]


@pytest.mark.parametrize(
    "reason",
    [
        Reason.UNKNOWN_PARAMETER,
        Reason.INVALID_VALUE,
        Reason.INCOMPATIBLE,
        Reason.CONFLICT,
        Reason.FIRMWARE_ERROR,
        Reason.BAD_SIGNATURE,
        Reason.WRONG_VEHICLE,
        Reason.REPLAYED,
        Reason.MALFORMED,
    ],
)
async def test_what_will_not_go_away_is_escalated_at_once(world: World, reason: Reason) -> None:
    """DOMAIN 7, last row but one: no retry; the diagnosis ends with the car's status."""
    job = await world.buy()
    await world.answer(world.last, Result.REJECTED, reason)
    assert await world.state(job) == "ESCALATED"
    [query] = world.commands(CommandKind.QUERY)
    await world.answer(query, Result.REPORT)
    await world.status(Operational.PARKED)
    [ticket] = await world.tickets()
    assert ticket["error_code"] == reason
    assert ticket["package"]["diagnostics"]["error_codes"] == ["P0A0F"]
    assert len(await world.deferred("api.release_payment")) == 1
    assert len(world.commands()) == 1


async def test_an_unreadable_command_is_answered_without_ids(world: World) -> None:
    """BUS, Command: answered with whatever of command_id and seq is known, else null."""
    job = await world.buy()
    await world.answer(world.last, Result.REJECTED, Reason.BAD_SIGNATURE, command_id=None, seq=None)
    assert await world.state(job) == "ESCALATED"


@pytest.mark.parametrize("service", ["NO_MAPPING", "BAD_VALUE"])
async def test_what_the_platform_cannot_do_is_never_sent(world: World, service: str) -> None:
    """DOMAIN 7: incompatible vehicle, our bug: escalate; built from the mapping, checked."""
    job = await world.buy(service)
    assert (await world.state(job), world.commands()) == ("ESCALATED", [])


async def test_a_vin_nobody_knows_is_escalated(world: World) -> None:
    job = await world.buy(vin="VF1AURRA000000099")
    assert (await world.state(job), world.commands(None)) == ("ESCALATED", [])
    assert len(await world.deferred("api.release_payment")) == 1


async def test_the_same_service_twice_is_a_conflict_and_not_paid_twice(world: World) -> None:
    """DOMAIN 7: conflict with active service."""
    first = await world.buy()
    await world.report(POWER_ON, world.last.seq)
    second = await world.buy()
    assert await world.state(second) == "ESCALATED"
    await world.later(30)
    await world.report(POWER_ON, world.last.seq)
    await world.do(PaymentReleased(activation_id=second.activation_id, outcome="VOIDED"))
    assert (await world.state(first), await world.state(second)) == ("ACTIVE", "FAILED_NO_CHARGE")
    assert await world.deliveries(second, "OFF") == []
    assert len(world.commands()) == 1


async def test_the_quota_waits_as_long_as_it_says_and_uses_no_attempt(world: World) -> None:
    """DOMAIN 7: quota (429), wait, no attempt used; DOMAIN 20: 10 per rolling hour."""
    for _ in range(5):
        for service, on in (("PERF_BOOST_50", POWER_ON), ("OFF_ROAD", OFFROAD_ON)):
            job = await world.buy(service, days=1)
            await world.report(on, world.last.seq)
            await world.sql(
                "UPDATE ota.activation SET state = 'EXPIRED' WHERE activation_id = %s",
                job.activation_id,
            )
    assert len(world.commands()) == 10
    job = await world.buy()
    assert (await world.state(job), len(world.commands())) == ("QUEUED", 10)
    assert await world.attempts(job) == []
    await world.online()
    assert len(world.commands()) == 10
    await world.later(3600)
    assert len(world.commands()) == 11
    assert [number for number, _, _ in await world.attempts(job)] == [1]


async def test_half_a_service_gets_one_off_on_cycle(world: World) -> None:
    """DOMAIN 7: partial activation, one off/on cycle."""
    job = await world.buy("OFF_ROAD")
    half = [OFFROAD_ON[0], OFFROAD_OFF[1]]
    await world.report(half, world.last.seq)
    assert len(world.commands()) == 1  # in the middle of applying is not half applied
    await world.answer(world.last, Result.APPLIED)
    await world.report(half, world.last.seq)
    assert world.last.values == OFFROAD_OFF
    await world.report(OFFROAD_ON, world.last.seq - 1)
    assert await world.state(job) == "ATTEMPTING"  # the off command is still to come
    await world.report(OFFROAD_OFF, world.last.seq)
    assert world.last.values == OFFROAD_ON
    assert len(world.commands()) == 3
    await world.report(OFFROAD_ON, world.last.seq)
    row = await world.activation(job.activation_id)
    assert (row["state"], row["total_attempts"]) == ("ACTIVE", 1)
    assert row["expires_at"] == world.last.valid_until


async def test_half_a_service_twice_is_a_failure_and_is_switched_off(world: World) -> None:
    """DOMAIN 7: not 100 % delivered = failed; S1: nobody pays, so nothing stays on."""
    job = await world.buy("OFF_ROAD")
    half = [OFFROAD_ON[0], OFFROAD_OFF[1]]
    await world.answer(world.last, Result.APPLIED)
    await world.report(half, world.last.seq)
    await world.report(OFFROAD_OFF, world.last.seq)
    await world.answer(world.last, Result.APPLIED)
    await world.report(half, world.last.seq)
    assert await world.state(job) == "ESCALATED"
    await world.later(30)
    assert world.last.values == OFFROAD_OFF
    await world.report(OFFROAD_OFF, world.last.seq)
    assert await world.deliveries(job, "OFF") == ["DONE"]
    assert len(await world.tickets()) == 1


async def test_a_broker_that_is_away_is_no_attempt_lost(world: World) -> None:
    """DOMAIN 7: transient network; a crash between commit and publish leaves the same picture."""
    world.bus.down = True
    job = await world.buy()
    assert world.commands() == []
    with pytest.raises(BusUnavailable):
        await world.bus.publish("t", b"")
    world.bus.down = False
    await world.later(1)
    [command] = world.commands()
    await world.later(6)
    assert len(world.commands()) == 1
    await world.report(POWER_ON, command.seq)
    row = await world.activation(job.activation_id)
    assert (row["state"], row["total_attempts"]) == ("ACTIVE", 1)


async def test_a_command_waits_for_the_next_connection_without_holding_up_the_scan(
    world: World,
) -> None:
    await world.vehicle()
    world.bus.connected = False
    await world.buy()
    assert world.commands() == []
    world.bus.connected = True
    await world.later(world.settings.republish_s)
    assert len(world.commands()) == 1
