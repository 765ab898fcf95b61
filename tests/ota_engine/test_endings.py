"""The end that must be right: late success, cancellation, withdrawal, expiry, manual retry."""

from datetime import timedelta

from core.contracts.bus import Operational, ParameterSetting, Reason, Result
from core.contracts.jobs import (
    CancelActivation,
    PaymentReleased,
    RequestActivation,
    RetryActivation,
    WithdrawActivation,
)
from core.contracts.states import Origin
from tests.ota_engine.world import OFFROAD_ON, POWER_OFF, POWER_ON, World


async def activate(world: World, service: str = "PERF_BOOST_50") -> RequestActivation:
    job = await world.buy(service)
    await world.report(world.last.values, world.last.seq)
    assert await world.state(job) == "ACTIVE"
    return job


async def escalate(world: World) -> RequestActivation:
    job = await world.buy()
    await world.answer(world.last, Result.REJECTED, Reason.FIRMWARE_ERROR)
    assert await world.state(job) == "ESCALATED"
    return job


async def test_late_success_while_a_retry_waits_is_success(world: World) -> None:
    """DOMAIN 7, late success before FAILED_NO_CHARGE stops pending retries."""
    job = await world.buy()
    await world.answer(world.last, Result.REJECTED, Reason.BUSY)
    await world.report(POWER_ON, world.last.seq)
    assert await world.state(job) == "ACTIVE"
    await world.later(3600)
    assert len(world.commands()) == 1


async def test_late_success_during_the_diagnosis_is_success(world: World) -> None:
    """DOMAIN 7, late success before FAILED_NO_CHARGE."""
    job = await escalate(world)
    await world.report(POWER_ON, world.last.seq)
    assert await world.state(job) == "ACTIVE"
    await world.later(60)
    assert await world.deferred("api.release_payment") == []
    assert await world.tickets() == []


async def test_late_success_after_the_release_is_switched_off_and_noted(world: World) -> None:
    """DOMAIN 7, late success after it: deactivation, note on the ticket, no charge."""
    job = await escalate(world)
    await world.later(30)
    late = world.last
    for _ in range(2):
        await world.report(POWER_ON, late.seq)
    assert world.last.values == POWER_OFF
    assert len(world.commands()) == 2
    await world.do(PaymentReleased(activation_id=job.activation_id, outcome="VOIDED"))
    await world.report(POWER_OFF, world.last.seq)
    assert await world.deliveries(job, "OFF") == ["DONE"]
    assert await world.state(job) == "FAILED_NO_CHARGE"
    [ticket] = await world.tickets()
    assert len(ticket["package"]["notes"]) == 1
    assert await world.deferred("api.capture_payment") == []


async def test_an_escalation_without_money_ends_with_its_ticket(world: World) -> None:
    """DOMAIN 6: ESCALATED ends at once where nothing is to be voided."""
    job = await world.buy(origin=Origin.PLAN)
    await world.answer(world.last, Result.REJECTED, Reason.FIRMWARE_ERROR)
    await world.later(30)
    assert await world.state(job) == "FAILED_NO_CHARGE"
    assert [ticket["priority"] for ticket in await world.tickets()] == ["MEDIUM"]
    assert await world.deferred("api.release_payment") == []


async def test_cancelled_during_an_attempt_and_a_late_success_is_undone(world: World) -> None:
    """DOMAIN 6: any before ACTIVE, customer cancels, full refund, late success is switched off."""
    job = await world.buy()
    on = world.last
    for _ in range(2):
        await world.do(CancelActivation(activation_id=job.activation_id))
    assert await world.state(job) == "CANCELLED_REFUNDED"
    assert await world.deliveries(job) == ["ABANDONED"]
    assert len(await world.deferred("api.release_payment")) == 1
    await world.report(POWER_ON, on.seq)
    assert world.last.values == POWER_OFF
    await world.report(POWER_OFF, world.last.seq)
    assert await world.deliveries(job, "OFF") == ["DONE"]
    assert await world.deferred("api.capture_payment") == []


async def test_cancelled_before_its_planned_start(world: World) -> None:
    job = await world.buy(starts_at=world.clock.now() + timedelta(days=1))
    await world.do(CancelActivation(activation_id=job.activation_id))
    await world.later(86400)
    assert await world.state(job) == "CANCELLED_REFUNDED"
    assert world.commands() == []


async def test_a_cancellation_that_the_proof_overtook_is_a_withdrawal(world: World) -> None:
    """S4: in doubt, favour the customer."""
    job = await activate(world)
    await world.do(CancelActivation(activation_id=job.activation_id))
    assert await world.state(job) == "CANCELLED_REFUNDED"
    assert len(await world.deferred("api.release_payment")) == 1
    assert world.last.values == POWER_OFF


async def test_a_withdrawal_is_closed_by_the_cars_proof(world: World) -> None:
    """DOMAIN 6: ACTIVE, withdrawal granted, CANCELLED_REFUNDED; OTA off, verify."""
    job = await activate(world)
    for _ in range(2):
        await world.do(WithdrawActivation(activation_id=job.activation_id))
    assert await world.state(job) == "CANCELLED_REFUNDED"
    assert await world.deferred("api.activation_closed") == []
    await world.answer(world.last, Result.APPLIED)
    assert await world.deferred("api.activation_closed") == []
    await world.report(POWER_OFF, world.last.seq)
    [closed] = await world.deferred("api.activation_closed")
    assert closed["switched_off"] is True
    assert (await world.activation(job.activation_id))["switch_off_state"] == "DONE"


async def test_a_switch_off_that_fails_ends_in_a_ticket(world: World) -> None:
    """DOMAIN 4: a failed switch-off is retried like an activation, then opens a ticket."""
    job = await activate(world)
    await world.do(WithdrawActivation(activation_id=job.activation_id))
    for _ in range(3):
        await world.answer(world.last, Result.REJECTED, Reason.BUSY)
        await world.later(60)
    [ticket] = await world.tickets()
    assert ticket["kind"] == "SWITCH_OFF"
    [closed] = await world.deferred("api.activation_closed")
    assert (closed["switched_off"], closed["ticket_number"]) == (False, ticket["number"])
    assert await world.deliveries(job, "OFF") == ["FAILED"]


async def test_expiry_by_the_server(world: World) -> None:
    """DOMAIN 6: ACTIVE, time over, EXPIRED, OTA off; DOMAIN 4: notices ahead and at the end."""
    job = await activate(world)
    await world.later(6 * 86400 - 1)
    assert "expiring" not in await world.notices()
    for _ in range(2):
        await world.later(1)
    assert (await world.notices()).count("expiring") == 1
    await world.later(86400)
    assert await world.state(job) == "EXPIRED"
    assert (await world.notices()).count("expired") == 1
    assert world.last.values == POWER_OFF
    await world.report(POWER_OFF, world.last.seq)
    assert await world.deliveries(job, "OFF") == ["DONE"]


async def test_expiry_by_the_car_itself_needs_no_command(world: World) -> None:
    """DOMAIN 4: it travels in the command, so the car can switch off and report alone."""
    job = await activate(world)
    await world.vehicle("ONLINE", reported=POWER_OFF, reported_seq=1)
    await world.later(7 * 86400)
    assert await world.state(job) == "EXPIRED"
    assert await world.deliveries(job, "OFF") == ["DONE"]
    assert len(world.commands()) == 1


async def test_a_switch_off_leaves_what_another_service_needs(world: World) -> None:
    """Two services on one parameter: the end of one is not the end of the other (S3)."""
    first = await activate(world)
    second = await activate(world, "SPORT_SOUND")
    sent = len(world.commands())
    await world.do(WithdrawActivation(activation_id=first.activation_id))
    assert len(world.commands()) == sent
    [closed] = await world.deferred("api.activation_closed")
    assert closed["switched_off"] is True
    await world.do(WithdrawActivation(activation_id=second.activation_id))
    assert world.last.values == POWER_OFF


async def test_a_retry_by_hand_succeeds_without_charge(world: World) -> None:
    """DOMAIN 6: FAILED_NO_CHARGE, support retries, MANUAL_ATTEMPT, ACTIVE; MANUAL_ACTIVATION."""
    job = await escalate(world)
    await world.later(30)
    await world.do(PaymentReleased(activation_id=job.activation_id, outcome="VOIDED"))
    await world.do(RetryActivation(activation_id=job.activation_id, actor="support:ana"))
    assert await world.state(job) == "MANUAL_ATTEMPT"
    await world.report(POWER_ON, world.last.seq)
    row = await world.activation(job.activation_id)
    assert (row["state"], row["final_result"]) == ("ACTIVE", "MANUAL_ACTIVATION")
    assert row["charged"] is False
    assert await world.deferred("api.capture_payment") == []
    assert [ticket["state"] for ticket in await world.tickets()] == ["RESOLVED_ACTIVATED"]


async def test_a_retry_by_hand_that_fails_is_permanent(world: World) -> None:
    """DOMAIN 6: MANUAL_ATTEMPT, PERMANENT_FAILURE, FAILED_NO_CHARGE."""
    job = await escalate(world)
    await world.later(30)
    await world.do(PaymentReleased(activation_id=job.activation_id, outcome="VOIDED"))
    await world.do(RetryActivation(activation_id=job.activation_id, actor="support:ana"))
    await world.answer(world.last, Result.REJECTED, Reason.BUSY)
    await world.status(Operational.PARKED)
    assert (await world.history(job))[-3:] == [
        "MANUAL_ATTEMPT",
        "PERMANENT_FAILURE",
        "FAILED_NO_CHARGE",
    ]
    [ticket] = await world.tickets()
    assert ticket["state"] == "RESOLVED_PERMANENT_FAILURE"
    await world.do(RetryActivation(activation_id=job.activation_id, actor="support:ana"))
    assert await world.state(job) == "FAILED_NO_CHARGE"


async def test_a_safe_deferral_holds_the_vehicle_but_not_for_ever(world: World) -> None:
    """One per VIN at a time also while it waits for its safe state."""
    first = await world.buy()
    second = await world.buy("OFF_ROAD")
    await world.answer(world.last, Result.DEFERRED, Reason.UNSAFE_STATE)
    assert await world.state(second) == "QUEUED"
    await world.do(CancelActivation(activation_id=first.activation_id))
    assert await world.state(second) == "ATTEMPTING"
    other: list[ParameterSetting] = [*POWER_OFF, *OFFROAD_ON]
    await world.report(other, world.last.seq)
    assert await world.state(second) == "ACTIVE"
