"""How deliveries end: the proof and its money, the switch-off, the ticket and the release."""

from dataclasses import replace
from datetime import datetime, timedelta

import core.log
from core.contracts.bus import ParameterSetting, VehicleStatus
from core.contracts.commands import CommandEvent
from core.contracts.jobs import ActivationClosed, CapturePayment, ReleasePayment
from core.contracts.states import ActivationState, TicketState
from core.contracts.values import matching
from core.ids import new_id
from ota_engine import notices, tickets
from ota_engine.lifecycle import ActivationEvent
from ota_engine.metrics import ACTIVATIONS, LATE_SUCCESSES, TIME_TO_ACTIVE
from ota_engine.model import (
    Activation,
    Delivery,
    Direction,
    TicketKind,
    Vehicle,
    parse_settings,
)
from ota_engine.proof import without
from ota_engine.unit import Unit
from ota_engine.wanted import want

log = core.log.get(__name__)

A, E = ActivationState, ActivationEvent


async def proven(
    unit: Unit, activation: Activation, delivery: Delivery, report_seq: int | None
) -> None:
    """The car shows the wanted values: success and everything that follows, or the end of OFF."""
    if not delivery.is_on:
        await switched_off(unit, activation, delivery, "PROVEN")
        return
    await finish(unit, delivery, "DONE")
    await _become_active(unit, activation, delivery, report_seq)


async def _become_active(
    unit: Unit, activation: Activation, delivery: Delivery, report_seq: int | None
) -> None:
    manual = activation.status is A.MANUAL_ATTEMPT
    late = activation.state
    active = await unit.repo.move(
        activation, E.PROVEN, unit.now, actor="vehicle", detail={"report_seq": report_seq}
    )
    # By hand it is charged only if the customer authorises anew (DOMAIN 6).
    charged = activation.paid and not manual
    expires_at = await _expires_at(unit, activation, delivery, report_seq)
    await unit.repo.set_active(activation.activation_id, expires_at, charged, unit.now)
    cause = f"{activation.service_code}: active"
    await want(unit, activation.vin, parse_settings(delivery.revert), cause)
    if charged and activation.payment_id is not None:
        await unit.defer(
            CapturePayment(activation_id=activation.activation_id, payment_id=activation.payment_id)
        )
    await notices.tell_customer(
        unit,
        active,
        notices.MANUAL_SUCCESS if manual else notices.SUCCESS,
        once_per=unit.now.isoformat() if manual else "",
        expires_at=None if expires_at is None else expires_at.isoformat(),
        charged=charged,
    )
    if manual:
        await _move_ticket(unit, activation, TicketState.RESOLVED_ACTIVATED)
    unit.after_commit(ACTIVATIONS.labels("ACTIVE").inc)
    unit.after_commit(
        lambda: TIME_TO_ACTIVE.observe((unit.now - delivery.created_at).total_seconds())
    )
    log.info("service active", activation_id=str(activation.activation_id), was=late)


async def _expires_at(
    unit: Unit, activation: Activation, delivery: Delivery, report_seq: int | None
) -> datetime | None:
    if activation.duration_days is None:
        return None
    applied = await unit.repo.body_of_delivery(delivery.delivery_id, report_seq)
    if applied is not None and applied.valid_until is not None:
        return applied.valid_until  # the car holds the same moment: see commands.configure
    return unit.now + timedelta(days=activation.duration_days)


async def switched_off(unit: Unit, activation: Activation, delivery: Delivery, why: str) -> None:
    """An OFF delivery reached its end: the car shows the off values, or another needs them on."""
    await finish(unit, delivery, "DONE", why)
    if activation.withdrawn:
        await _close(unit, activation, switched_off_now=True, ticket_number=None)
    unit.after_commit(ACTIVATIONS.labels("SWITCHED_OFF").inc)
    log.info("service switched off", activation_id=str(activation.activation_id), why=why)


async def given_up(
    unit: Unit,
    activation: Activation,
    delivery: Delivery,
    vehicle: Vehicle | None,
    status: VehicleStatus | None,
) -> None:
    """Diagnosed: ticket, then the money (DOMAIN 7, final failure sequence)."""
    ticket = await tickets.open_ticket(unit, activation, delivery, vehicle, status)
    await finish(unit, delivery, "FAILED")
    if not delivery.is_on:
        if activation.withdrawn:
            await _close(unit, activation, switched_off_now=False, ticket_number=ticket.number)
        unit.after_commit(ACTIVATIONS.labels("SWITCH_OFF_FAILED").inc)
        return
    if activation.status is A.MANUAL_ATTEMPT:
        await _permanent_failure(unit, activation, delivery, ticket.number)
    elif activation.status is A.ESCALATED:
        await release(unit, activation, delivery.last_reason or "FAILED")
    if delivery.shown:
        # Some of it is on in the car, and nobody will pay for it.
        await order_off(unit, activation, delivery, "left partly on")


async def release(unit: Unit, activation: Activation, reason: str) -> None:
    """Give the money back, or end at once where there is none."""
    if activation.payment_id is None:
        await failed_no_charge(unit, activation, "NONE")
    elif await unit.repo.order_release(activation.activation_id, unit.now):
        await unit.defer(
            ReleasePayment(
                activation_id=activation.activation_id,
                payment_id=activation.payment_id,
                reason=reason,
            )
        )


async def failed_no_charge(unit: Unit, activation: Activation, outcome: str) -> None:
    """Nobody pays, and the customer hears it with the ticket number."""
    ticket = await unit.repo.ticket(activation.activation_id, TicketKind.ACTIVATION)
    await unit.repo.move(
        activation, E.PAYMENT_RELEASED, unit.now, actor="worker", detail={"outcome": outcome}
    )
    await notices.tell_customer(
        unit,
        activation,
        notices.FAILED,
        ticket_number=None if ticket is None else ticket.number,
        charged=False,
        outcome=outcome,
    )
    unit.after_commit(ACTIVATIONS.labels("FAILED_NO_CHARGE").inc)


async def _permanent_failure(
    unit: Unit, activation: Activation, delivery: Delivery, ticket_number: str
) -> None:
    failed = await unit.repo.move(
        activation, E.TERMINAL_FAILURE, unit.now, actor="engine", cause=delivery.last_reason
    )
    # The money went back before the first FAILED_NO_CHARGE, so there is nothing left to verify.
    await unit.repo.move(failed, E.REFUND_VERIFIED, unit.now, actor="engine")
    await _move_ticket(unit, activation, TicketState.RESOLVED_PERMANENT_FAILURE)
    await notices.tell_customer(
        unit,
        activation,
        notices.PERMANENT_FAILURE,
        once_per=delivery.delivery_id,
        ticket_number=ticket_number,
        charged=False,
    )
    unit.after_commit(ACTIVATIONS.labels("PERMANENT_FAILURE").inc)


async def abandon(unit: Unit, delivery: Delivery, reason: str) -> None:
    """Stop a delivery where it is; the car may still act on what it has, which is watched."""
    if delivery.command_id is not None:
        await unit.repo.close_command(delivery.command_id, CommandEvent.FAILED, unit.now, reason)
    if delivery.attempt_open:
        await unit.repo.end_attempt(delivery, None, unit.now, reason)
    await finish(unit, delivery, "ABANDONED", reason)


async def order_off(unit: Unit, activation: Activation, on: Delivery, why: str) -> None:
    """Make the OFF delivery of what ``on`` switched, or may have switched."""
    await unit.repo.insert_delivery(
        new_id(),
        activation,
        Direction.OFF,
        parse_settings(on.revert),
        parse_settings(on.wanted),
        on.safe_state,
        unit.settings.max_retries,
        unit.now,
    )
    await want(unit, activation.vin, parse_settings(on.revert), f"{activation.service_code}: {why}")
    unit.wake = True
    log.info("switch-off ordered", activation_id=str(activation.activation_id), why=why)


async def undo_late_success(unit: Unit, vin: str, values: list[ParameterSetting], seq: int) -> None:
    """Switch off what an activation left on after its failure or cancellation (DOMAIN 7).

    Any of the wanted values counts, unless another service in use needs it or it is the off value
    as well: half a service that nobody pays for is not left on either.
    """
    for delivery in await unit.repo.given_up(vin, seq):
        others = await unit.repo.needed_by_others(delivery.of_activation, vin)
        wanted = without(parse_settings(delivery.wanted), others)
        neutral = matching(wanted, parse_settings(delivery.revert))
        if not [item for item in matching(wanted, values) if item not in neutral]:
            continue
        activation = await unit.repo.activation(delivery.of_activation)
        await order_off(unit, activation, delivery, "late success")
        note = {
            "at": unit.now.isoformat(),
            "text": "The car reported the wanted values after the activation had ended; "
            "it is switched off and not charged.",
            "report_seq": seq,
        }
        await unit.repo.note_on_ticket(activation.activation_id, note, unit.now)
        unit.after_commit(LATE_SUCCESSES.labels(activation.state).inc)


async def _close(
    unit: Unit, activation: Activation, *, switched_off_now: bool, ticket_number: str | None
) -> None:
    await unit.repo.set_withdrawn(activation.activation_id, False, unit.now)
    await unit.defer(
        ActivationClosed(
            activation_id=activation.activation_id,
            switched_off=switched_off_now,
            ticket_number=ticket_number,
        )
    )


async def finish(unit: Unit, delivery: Delivery, state: str, reason: str | None = None) -> None:
    """Put a delivery into a final state; its vehicle is free for the next one."""
    changed = replace(
        delivery,
        state=state,
        due_at=None,
        attempt_open=False,
        last_reason=reason or delivery.last_reason,
    )
    await unit.repo.save_delivery(changed, delivery.state, unit.now)
    unit.wake = True  # the vehicle is free for the next one


async def _move_ticket(unit: Unit, activation: Activation, state: TicketState) -> None:
    ticket = await unit.repo.ticket(activation.activation_id, TicketKind.ACTIVATION)
    if ticket is not None:
        await unit.repo.move_ticket(ticket.ticket_id, state, tickets.OPEN_STATES, unit.now)
