"""What other rooms ask of activations: open, cancel, withdraw, release, retry by hand; and time."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec

import core.log
from core.contracts.bus import ParameterSetting
from core.contracts.jobs import (
    ActivationClosed,
    CancelActivation,
    PaymentReleased,
    ReleasePayment,
    RequestActivation,
    RetryActivation,
    WithdrawActivation,
)
from core.contracts.states import ActivationState, Origin
from core.ids import new_id
from ota_engine import endings, notices
from ota_engine.lifecycle import BEFORE_ACTIVE, ActivationEvent
from ota_engine.metrics import ACTIVATIONS
from ota_engine.model import Activation, Direction, TicketKind
from ota_engine.tickets import OPEN_STATES
from ota_engine.unit import Unit

log = core.log.get(__name__)

A, E = ActivationState, ActivationEvent


async def request(unit: Unit, job: RequestActivation) -> None:
    """Open the activation and, unless it is planned for later, its delivery; once."""
    bought = job.origin is Origin.PURCHASE
    # Plan options and subscriptions enter at QUEUED without payment (DOMAIN 6).
    entry = A.PURCHASE_INITIATED if bought else A.QUEUED
    queued_at = None if bought else unit.now
    if not await unit.repo.insert_activation(job, entry.value, queued_at):
        return
    await unit.repo.add_history(
        job.activation_id, "NONE", "REQUESTED", entry.value, job.purchased_at, "customer"
    )
    activation = await unit.repo.activation(job.activation_id)
    if bought:
        activation = await unit.repo.move(
            activation, E.PAYMENT_STARTED, job.purchased_at, actor="customer"
        )
        later = job.starts_at is not None and job.starts_at > unit.now
        event = E.AUTHORISED_FOR_LATER if later else E.AUTHORISED
        activation = await unit.repo.move(activation, event, unit.now, actor="worker")
    unit.after_commit(ACTIVATIONS.labels(activation.state).inc)
    if activation.status is A.QUEUED:
        await begin(unit, activation)


async def begin(unit: Unit, activation: Activation, max_retries: int | None = None) -> None:
    """Make the ON delivery from the mapping of the vehicle's platform.

    Without a mapping its wanted values are empty, which its first turn escalates as INCOMPATIBLE.
    """
    vehicle = await unit.repo.vehicle(activation.vin)
    mapping = (
        None if vehicle is None else await unit.repo.mapping(activation.service_code, vehicle.model)
    )
    rows = [] if mapping is None else mapping.settings
    own = None if mapping is None else mapping.max_retries
    limit = unit.settings.max_retries if own is None else own
    await unit.repo.insert_delivery(
        new_id(),
        activation,
        Direction.ON,
        _values(rows, "on_value"),
        _values(rows, "off_value"),
        "ANY" if mapping is None else mapping.safe_state,
        limit if max_retries is None else max_retries,
        unit.now,
    )
    unit.wake = True


def _values(rows: Sequence[dict[str, Any]], member: str) -> list[ParameterSetting]:
    return [
        msgspec.convert(
            {"module": row["module"], "parameter": row["parameter"], "value": row[member]},
            ParameterSetting,
        )
        for row in rows
    ]


async def cancel(unit: Unit, job: CancelActivation) -> None:
    """Before ACTIVE: stop, full refund, and a late success is switched off (DOMAIN 6)."""
    activation = await unit.repo.activation(job.activation_id)
    if activation.status is A.ACTIVE:
        # The proof overtook the cancellation on its way here. The customer was told it is
        # cancelled, so it is treated as a withdrawal, with the money back (S4).
        await _withdraw(unit, activation, job.reason, job.actor)
        await _order_release(unit, activation, "CANCELLED")
        return
    if activation.status not in BEFORE_ACTIVE:
        log.info("nothing to cancel", state=activation.state)
        return
    cancelled = await unit.repo.move(
        activation, E.CUSTOMER_CANCELLED, unit.now, actor=job.actor, cause=job.reason
    )
    shown = None
    for delivery in await unit.repo.deliveries_of(job.activation_id, Direction.ON):
        if delivery.due_at is not None:
            await endings.abandon(unit, delivery, "CANCELLED")
        shown = delivery if delivery.shown else shown
    if shown is not None:
        await endings.order_off(unit, cancelled, shown, "cancelled while partly on")
    await _order_release(unit, cancelled, "CANCELLED")
    unit.after_commit(ACTIVATIONS.labels(cancelled.state).inc)


async def _order_release(unit: Unit, activation: Activation, reason: str) -> None:
    if activation.payment_id is None:
        return
    if await unit.repo.order_release(activation.activation_id, unit.now):
        await unit.defer(
            ReleasePayment(
                activation_id=activation.activation_id,
                payment_id=activation.payment_id,
                reason=reason,
            )
        )


async def withdraw(unit: Unit, job: WithdrawActivation) -> None:
    """A granted withdrawal: off, and ActivationClosed once the car proves it (DOMAIN 13)."""
    activation = await unit.repo.activation(job.activation_id)
    if activation.withdrawn:
        return
    if activation.status is A.ACTIVE:
        await _withdraw(unit, activation, job.reason, job.actor)
    elif activation.status is A.EXPIRED:
        await _close_expired(unit, activation)
    else:
        log.info("nothing to withdraw", state=activation.state)


async def _withdraw(unit: Unit, activation: Activation, reason: str | None, actor: str) -> None:
    withdrawn = await unit.repo.move(
        activation, E.WITHDRAWAL_GRANTED, unit.now, actor=actor, cause=reason
    )
    await unit.repo.set_withdrawn(activation.activation_id, True, unit.now)
    await _order_off(unit, withdrawn, "withdrawn")
    unit.after_commit(ACTIVATIONS.labels(withdrawn.state).inc)


async def _close_expired(unit: Unit, activation: Activation) -> None:
    """It ended by itself between the grant and now: answer what became of its switch-off."""
    offs = await unit.repo.deliveries_of(activation.activation_id, Direction.OFF)
    if any(delivery.due_at is not None for delivery in offs):
        await unit.repo.set_withdrawn(activation.activation_id, True, unit.now)
        return
    failed = bool(offs) and offs[-1].state == "FAILED"
    ticket = await unit.repo.ticket(activation.activation_id, TicketKind.SWITCH_OFF)
    await unit.defer(
        ActivationClosed(
            activation_id=activation.activation_id,
            switched_off=not failed,
            ticket_number=ticket.number if failed and ticket is not None else None,
        )
    )


async def _order_off(unit: Unit, activation: Activation, why: str) -> None:
    done = [
        delivery
        for delivery in await unit.repo.deliveries_of(activation.activation_id, Direction.ON)
        if delivery.state == "DONE"
    ]
    if done:
        await endings.order_off(unit, activation, done[-1], why)


async def payment_released(unit: Unit, job: PaymentReleased) -> None:
    """The money is free: the escalated activation may end (DOMAIN 6)."""
    activation = await unit.repo.activation(job.activation_id)
    if activation.status is A.ESCALATED and activation.release_ordered_at is not None:
        await endings.failed_no_charge(unit, activation, job.outcome)


async def retry_by_hand(unit: Unit, job: RetryActivation) -> None:
    """Support tries once more, on an open ticket; one attempt (DOMAIN 6, MANUAL_ATTEMPT)."""
    activation = await unit.repo.activation(job.activation_id)
    ticket = await unit.repo.ticket(job.activation_id, TicketKind.ACTIVATION)
    if activation.status is not A.FAILED_NO_CHARGE or ticket is None:
        log.info("no retry by hand", state=activation.state)
        return
    if ticket.state not in OPEN_STATES:
        log.info("no retry by hand on a closed ticket", ticket=ticket.number, state=ticket.state)
        return
    moved = await unit.repo.move(activation, E.MANUAL_RETRY, unit.now, actor=job.actor)
    await unit.repo.move_ticket(ticket.ticket_id, "IN_PROGRESS", ("OPEN",), unit.now)
    await begin(unit, moved, max_retries=0)


async def time_is_due(unit: Unit, activation_id: UUID) -> None:
    """A planned start, or the end of a service's time; nothing where it is not due any more."""
    activation = await unit.repo.activation(activation_id)
    if activation.status is A.SCHEDULED:
        if activation.starts_at is not None and activation.starts_at <= unit.now:
            queued = await unit.repo.move(activation, E.TIME_DUE, unit.now, actor="engine")
            await begin(unit, queued)
        return
    if activation.expires_at is None or activation.expires_at > unit.now:
        return
    if activation.status in (A.ACTIVE, A.CANCELLED_NO_REFUND):
        expired = await unit.repo.move(activation, E.TIME_OVER, unit.now, actor="engine")
        # The car has the same moment and may have switched off already: the delivery's turn looks.
        await _order_off(unit, expired, "expired")
        await notices.tell_customer(unit, expired, notices.EXPIRED)
        unit.after_commit(ACTIVATIONS.labels(expired.state).inc)
