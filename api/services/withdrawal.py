"""Cancelling and giving back a service: all or nothing, granted once (DOMAIN 13)."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from api.billing.jobs import RefundPayment
from api.customers import service as customers
from api.deps import ApiDeps
from api.services import repository
from api.services.activations import state_of
from api.services.repository import Activation, Purchase
from api.services.rules import BEFORE_ACTIVE, ON_STATES, withdrawal_granted
from api.services.schemas import CancelReason
from core.contracts.jobs import ActivationClosed, CancelActivation, Notify, WithdrawActivation
from core.contracts.states import ActivationState
from core.db import Connection
from core.errors import Conflict, NotFound
from core.ids import new_id
from core.jobs import defer
from core.money import Money


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the money goes back, and how much."""

    eligible: bool
    refund: Money


async def cancel(
    conn: Connection,
    deps: ApiDeps,
    activation_id: UUID,
    customer_id: UUID,
    reason: CancelReason | None,
) -> Verdict:
    """Before ACTIVE: stop, full refund. ACTIVE: withdrawal if its window is open.

    Asking again gives the same answer and moves nothing. NotFound for another's activation.
    """
    purchase = await repository.purchase(conn, activation_id, lock=True)
    if purchase is None or purchase.customer_id != customer_id:
        raise NotFound("ACTIVATION_NOT_FOUND", "no such activation")
    if await repository.granted_request(conn, activation_id) is not None:
        return Verdict(True, purchase.amount)
    activation = await repository.activation(conn, activation_id)
    state = state_of(activation.state if activation else None, purchase.state)
    if activation is None and state is ActivationState.PAYMENT_PENDING:
        raise Conflict("PAYMENT_PENDING", "the payment's fate is not known yet; try again shortly")
    now = deps.clock.now()
    if state in BEFORE_ACTIVE and purchase.payment_id is not None:
        await _grant(conn, deps, purchase, reason, now)
        await defer(
            conn,
            CancelActivation(activation_id=activation_id, reason=reason.value if reason else None),
        )
        return Verdict(True, purchase.amount)
    if (
        activation is not None
        and state in ON_STATES
        and await _window_open(conn, deps, purchase, activation, now)
    ):
        await _grant(conn, deps, purchase, reason, now)
        await _withdraw(conn, purchase, reason)
        return Verdict(True, purchase.amount)
    await _deny(conn, purchase, reason, now)
    return Verdict(False, Money(0, purchase.currency))


async def closed(deps: ApiDeps, job: ActivationClosed) -> None:
    """The engine says a withdrawal's switch-off is proved, or has ended in a ticket."""
    async with deps.database.transaction() as conn:
        customer_id = await repository.complete_request(
            conn,
            job.activation_id,
            switched_off=job.switched_off,
            ticket_number=job.ticket_number,
            at=deps.clock.now(),
        )
        if customer_id is None:
            return
        await defer(
            conn,
            Notify(
                event="withdrawal_done",
                dedupe_key=f"withdrawal_done:{job.activation_id}",
                customer_id=customer_id,
                activation_id=job.activation_id,
                data={"switched_off": job.switched_off},
            ),
        )


async def _window_open(
    conn: Connection,
    deps: ApiDeps,
    purchase: Purchase,
    activation: Activation,
    now: datetime,
) -> bool:
    if activation.activated_at is None or activation.payment_id is None:
        return False
    customer = await customers.get(conn, purchase.customer_id)
    settings = deps.settings.services
    return withdrawal_granted(
        activated_at=activation.activated_at,
        expires_at=activation.expires_at,
        duration_days=activation.duration_days,
        now=now,
        time_zone=customer.time_zone,
        window_days=settings.withdrawal_days,
        long_threshold_days=settings.withdrawal_long_threshold_days,
    )


async def _grant(
    conn: Connection,
    deps: ApiDeps,
    purchase: Purchase,
    reason: CancelReason | None,
    now: datetime,
) -> None:
    await _record(conn, purchase, reason, now, eligible=True)
    offer = await repository.offer(conn, None, purchase.service_code)
    policy = deps.settings.services.hide_after_withdrawal or (
        offer is not None and offer.hide_after_withdrawal
    )
    if policy and reason is CancelReason.DISSATISFACTION:
        await repository.hide(
            conn, purchase.customer_id, purchase.service_code, reason=reason.value, at=now
        )


async def _withdraw(conn: Connection, purchase: Purchase, reason: CancelReason | None) -> None:
    """Service off and money back, each by its own job."""
    assert purchase.payment_id is not None
    activation_id, why = purchase.activation_id, reason.value if reason else None
    # Jobs of one activation run in this order: a gateway that is down must not hold back the
    # switch-off, and the refund comes after a capture that may still wait in the queue.
    await defer(conn, WithdrawActivation(activation_id=activation_id, reason=why))
    await defer(
        conn,
        RefundPayment(payment_id=purchase.payment_id, reason=why or "WITHDRAWAL"),
        lock=f"activation:{activation_id}",
    )


async def _deny(
    conn: Connection, purchase: Purchase, reason: CancelReason | None, now: datetime
) -> None:
    if not await repository.was_denied(conn, purchase.activation_id):
        await _record(conn, purchase, reason, now, eligible=False)


async def _record(
    conn: Connection,
    purchase: Purchase,
    reason: CancelReason | None,
    now: datetime,
    *,
    eligible: bool,
) -> None:
    """The request with its verdict, and the notice of it."""
    await repository.insert_request(
        conn,
        {
            "request_id": new_id(),
            "activation_id": purchase.activation_id,
            "customer_id": purchase.customer_id,
            "at": now,
            "reason": reason.value if reason else None,
            "eligibility": "ELIGIBLE" if eligible else "INELIGIBLE",
            "refund_amount_minor": purchase.amount_minor if eligible else 0,
            "status": "APPROVED" if eligible else "DENIED",
        },
    )
    await defer(
        conn,
        Notify(
            event="cancellation",
            dedupe_key=f"cancellation:{purchase.activation_id}:{eligible}",
            customer_id=purchase.customer_id,
            vin=purchase.vin,
            activation_id=purchase.activation_id,
            data={"eligible": eligible, "amount": str(purchase.amount)},
        ),
    )
