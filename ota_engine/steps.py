"""Carries out what `ota_engine.delivery.decide` decided, within one transaction."""

from dataclasses import replace
from datetime import timedelta

import core.log
from core.contracts.bus import VehicleStatus
from core.contracts.commands import CommandEvent
from core.contracts.states import ActivationState
from ota_engine import commands, corrections, endings, notices
from ota_engine.commands import NotNeeded, Postponed, Refused, Sent
from ota_engine.delivery import (
    Ask,
    Check,
    Decision,
    Defer,
    Diagnosed,
    Escalate,
    Hurry,
    Nothing,
    Prove,
    Retry,
    Send,
)
from ota_engine.lifecycle import ActivationEvent
from ota_engine.metrics import (
    ATTEMPTS,
    ESCALATIONS,
    QUOTA_WAITS,
    SECURITY_ALERTS,
    attempt_label,
)
from ota_engine.model import Activation, Delivery, Phase, Vehicle
from ota_engine.retry import SECURITY, Failure
from ota_engine.tickets import snapshot
from ota_engine.unit import Unit

log = core.log.get(__name__)

A, E = ActivationState, ActivationEvent
_STARTS = {
    A.QUEUED: E.ATTEMPT_STARTED,
    A.RETRY_SCHEDULED: E.ATTEMPT_STARTED,
    A.WAITING_SAFE_STATE: E.SAFE_STATE_REPORTED,
}


async def carry_out(
    unit: Unit,
    delivery: Delivery,
    decision: Decision,
    *,
    vehicle: Vehicle | None = None,
    status: VehicleStatus | None = None,
    report_seq: int | None = None,
) -> None:
    """Write down what ``decision`` means for the delivery, its activation and its command."""
    if isinstance(decision, Nothing):
        return
    activation = await _activation_of(unit, delivery)
    vehicle = vehicle or await unit.repo.vehicle(delivery.vin)
    match decision:
        case Send() | Check():
            await _begin(unit, activation, delivery, decision, vehicle)
        case Ask():
            await _ask(unit, delivery, decision)
        case Defer():
            await _defer(unit, activation, delivery, decision)
        case Retry():
            await _retry(unit, activation, delivery, decision)
        case Escalate():
            await _escalate(unit, activation, delivery, decision, vehicle)
        case Hurry():
            await _save(unit, delivery, due_at=unit.now)
            unit.wake = True
        case Prove():
            await _prove(unit, activation, delivery, vehicle, report_seq)
        case Diagnosed():
            await _given_up(unit, activation, delivery, vehicle, status)


async def _activation_of(unit: Unit, delivery: Delivery) -> Activation | None:
    """None for a correction, which nobody buys, pays or is told of."""
    if delivery.activation_id is None:
        return None
    return await unit.repo.activation(delivery.activation_id)


async def _given_up(
    unit: Unit,
    activation: Activation | None,
    delivery: Delivery,
    vehicle: Vehicle | None,
    status: VehicleStatus | None,
) -> None:
    if activation is None:
        await corrections.given_up(unit, delivery, vehicle, status)
    else:
        await endings.given_up(unit, activation, delivery, vehicle, status)


async def _begin(
    unit: Unit,
    activation: Activation | None,
    delivery: Delivery,
    decision: Send | Check,
    vehicle: Vehicle | None,
) -> None:
    if isinstance(decision, Send):
        await _send(unit, activation, delivery, vehicle, decision.phase)
    else:
        await _check(unit, activation, delivery, vehicle, decision)


async def _prove(
    unit: Unit,
    activation: Activation | None,
    delivery: Delivery,
    vehicle: Vehicle | None,
    report_seq: int | None,
) -> None:
    if activation is not None and delivery.is_on and await unit.repo.in_use_elsewhere(activation):
        # The other activation's values, not ours: nobody pays twice for one service (S4).
        if delivery.state != "DIAGNOSING":
            conflict = Escalate(Failure.CONFLICT, "in use by another activation")
            await _escalate(unit, activation, delivery, conflict, vehicle)
        return
    await _end_command(unit, delivery, CommandEvent.PROVEN)
    await _end_attempt(unit, delivery, "SUCCESS")
    if activation is None:
        await corrections.proven(unit, delivery)
    else:
        await endings.proven(unit, activation, delivery, report_seq)


async def _send(
    unit: Unit,
    activation: Activation | None,
    delivery: Delivery,
    vehicle: Vehicle | None,
    phase: Phase | None,
) -> None:
    if phase is not None:
        delivery = await _change_phase(unit, delivery, phase)
    if vehicle is None:
        await _escalate(unit, activation, delivery, Escalate(Failure.UNKNOWN_VIN), vehicle)
        return
    if activation is None:
        outcome = await corrections.configure(unit, delivery, vehicle)
    else:
        outcome = await commands.configure(unit, activation, delivery, vehicle)
    match outcome:
        case Sent(command):
            changed = commands.with_command(delivery, command, unit)
            changed = await _open_attempt(unit, activation, delivery, changed, vehicle)
            await unit.repo.save_delivery(changed, delivery.state, unit.now)
        case Postponed(retry_after_s):
            await _postpone(unit, activation, delivery, retry_after_s)
        case Refused(failure, detail):
            decision = Escalate(failure, detail)
            await _escalate(unit, activation, delivery, decision, vehicle)
        case NotNeeded(why):
            await _end_attempt(unit, delivery, None, why)
            if activation is None:
                await corrections.not_needed(unit, delivery, why)
            else:
                await endings.switched_off(unit, activation, delivery, why)


async def _change_phase(unit: Unit, delivery: Delivery, phase: Phase) -> Delivery:
    """Turn the off/on cycle on; the proof of the next part starts with its own command."""
    if phase is Phase.OFF:
        await unit.repo.attempt_response(delivery, Failure.PARTIAL, "one off/on cycle")
        await _end_command(unit, delivery, CommandEvent.FAILED, Failure.PARTIAL)
    else:
        await _end_command(unit, delivery, CommandEvent.PROVEN)
    log.info("off/on cycle", delivery_id=str(delivery.delivery_id), phase=phase.value)
    return replace(delivery, phase=phase.value, proof_seq=None, command_id=None)


async def _check(
    unit: Unit,
    activation: Activation | None,
    delivery: Delivery,
    vehicle: Vehicle | None,
    decision: Check,
) -> None:
    if delivery.state == "CHECKING":
        await _save(unit, delivery, due_at=decision.recheck_at)
        return
    changed = replace(
        delivery, state="CHECKING", due_at=decision.recheck_at, check_until=decision.until
    )
    changed = await _open_attempt(unit, activation, delivery, changed, vehicle)
    await unit.repo.save_delivery(changed, delivery.state, unit.now)


async def _open_attempt(
    unit: Unit,
    activation: Activation | None,
    before: Delivery,
    changed: Delivery,
    vehicle: Vehicle | None,
) -> Delivery:
    """A new attempt, or the open one with its new command (after a deferral or a quota wait)."""
    if activation is not None and changed.is_on:
        await _start(unit, activation)
    if before.attempt_open:
        await unit.repo.attempt_command(changed)
        return changed
    changed = replace(changed, attempt=before.attempt + 1, attempt_open=True)
    await unit.repo.insert_attempt(changed, unit.now, snapshot(vehicle))
    if activation is not None and changed.is_on:
        await unit.repo.count_attempt(activation.activation_id, unit.now)
    return changed


async def _start(unit: Unit, activation: Activation) -> Activation:
    event = _STARTS.get(activation.status)
    if event is None:
        return activation
    if activation.status is A.QUEUED:
        await notices.tell_customer(unit, activation, notices.STARTED)
    return await unit.repo.move(activation, event, unit.now, actor="engine")


async def _ask(unit: Unit, delivery: Delivery, decision: Ask) -> None:
    query_id = await commands.query(unit, delivery, unit.settings.status_timeout)
    await unit.repo.attempt_response(delivery, decision.failure, None)
    await _save(
        unit,
        delivery,
        state="QUERYING",
        due_at=decision.until,
        query_id=query_id,
        queried_at=unit.now,
        last_reason=decision.failure.value,
    )


async def _defer(
    unit: Unit, activation: Activation | None, delivery: Delivery, decision: Defer
) -> None:
    await _end_command(unit, delivery, CommandEvent.FAILED, "DEFERRED")
    await unit.repo.attempt_response(delivery, "DEFERRED", "waits for its safe state")
    await _save(
        unit,
        delivery,
        state="DEFERRED",
        due_at=decision.recheck_at,
        safe_state_by=decision.by,
        deferred_at=decision.deferred_at,
        last_reason=Failure.UNSAFE_STATE.value,
    )
    unit.wake = unit.wake or decision.recheck_at <= unit.now
    if activation is not None and delivery.is_on and activation.status is A.ATTEMPTING:
        await unit.repo.move(activation, E.DEFERRED, unit.now, actor="vehicle", cause="DEFERRED")
    if activation is not None and delivery.is_on and decision.first:
        await notices.tell_customer(unit, activation, notices.DEFERRED)


async def _retry(
    unit: Unit, activation: Activation | None, delivery: Delivery, decision: Retry
) -> None:
    reason = decision.failure.value
    await _end_command(unit, delivery, CommandEvent.FAILED, reason)
    await _end_attempt(unit, delivery, "FAILED_RETRY", reason)
    await _save(
        unit,
        delivery,
        state="WAITING",
        due_at=decision.at,
        retries=delivery.retries + 1,
        attempt_open=False,
        last_reason=reason,
    )
    unit.wake = True  # the vehicle is free for another delivery
    if activation is not None and delivery.is_on and activation.status is A.ATTEMPTING:
        await unit.repo.move(
            activation, E.RECOVERABLE_FAILURE, unit.now, actor="engine", cause=reason,
            detail={"retry": delivery.retries + 1, "at": decision.at.isoformat()},
        )  # fmt: skip


async def _postpone(
    unit: Unit, activation: Activation | None, delivery: Delivery, retry_after_s: int
) -> None:
    """The quota is used up: wait as long as it says, without using an attempt."""
    at = unit.now + timedelta(seconds=retry_after_s)
    unit.after_commit(QUOTA_WAITS.inc)
    log.info("command put off by the quota", retry_after_s=retry_after_s)
    if delivery.state == "DEFERRED":
        # It keeps waiting for its safe state; after the wait it is looked at again.
        await _save(unit, delivery, due_at=at)
        return
    await _save(unit, delivery, state="WAITING", due_at=at, last_reason=Failure.QUOTA.value)
    unit.wake = True
    if activation is not None and delivery.is_on and activation.status is A.ATTEMPTING:
        await unit.repo.move(
            activation, E.RECOVERABLE_FAILURE, unit.now, actor="engine", cause=Failure.QUOTA
        )


async def _escalate(
    unit: Unit,
    activation: Activation | None,
    delivery: Delivery,
    decision: Escalate,
    vehicle: Vehicle | None,
) -> None:
    """Give up: first the car is asked for status and diagnostics, then the ticket (DOMAIN 7)."""
    reason = decision.failure.value
    await _end_command(unit, delivery, CommandEvent.FAILED, reason)
    await _end_attempt(unit, delivery, "FAILED_ESCALATE", reason, decision.detail)
    query_id = None
    if vehicle is not None and vehicle.ready:
        query_id = await commands.query(unit, delivery, unit.settings.status_timeout)
    changed = replace(
        delivery,
        state="DIAGNOSING",
        # A car that cannot be asked is not waited for.
        due_at=unit.now + unit.settings.status_timeout if query_id else unit.now,
        query_id=query_id,
        queried_at=unit.now if query_id else None,
        attempt_open=False,
        last_reason=reason,
    )
    await unit.repo.save_delivery(changed, delivery.state, unit.now)
    unit.wake = True
    unit.after_commit(ESCALATIONS.labels(delivery.direction, reason).inc)
    if decision.failure in SECURITY:
        unit.after_commit(SECURITY_ALERTS.labels(reason).inc)
        log.error("security alert", reason=reason, detail=decision.detail)
    if activation is not None and delivery.is_on:
        await _to_escalated(unit, activation, decision)


async def _to_escalated(unit: Unit, activation: Activation, decision: Escalate) -> None:
    event = E.TERMINAL_FAILURE
    if activation.status is A.WAITING_SAFE_STATE:
        if decision.failure is Failure.SAFE_STATE_WAIT_OVER:
            event = E.SAFE_STATE_WAIT_OVER
        else:
            activation = await _start(unit, activation)
    elif activation.status in _STARTS:
        activation = await _start(unit, activation)
    if activation.status is A.MANUAL_ATTEMPT:
        return  # its failure is stated with the ticket
    await unit.repo.move(
        activation, event, unit.now, actor="engine", cause=decision.failure,
        detail={} if decision.detail is None else {"detail": decision.detail},
    )  # fmt: skip


async def _end_command(
    unit: Unit, delivery: Delivery, event: CommandEvent, reason: str | None = None
) -> None:
    if delivery.command_id is not None:
        await unit.repo.close_command(delivery.command_id, event, unit.now, reason)


async def _end_attempt(
    unit: Unit,
    delivery: Delivery,
    result: str | None,
    code: str | None = None,
    message: str | None = None,
) -> None:
    if not delivery.attempt_open:
        return
    await unit.repo.end_attempt(delivery, result, unit.now, code, message)
    unit.after_commit(
        ATTEMPTS.labels(
            delivery.direction, result or "NONE", code or "", attempt_label(delivery.attempt)
        ).inc
    )


async def _save(unit: Unit, delivery: Delivery, **changes: object) -> None:
    await unit.repo.save_delivery(replace(delivery, **changes), delivery.state, unit.now)  # pyright: ignore[reportArgumentType]
