"""Taking held money once, and giving it back: capture, void, refund (DOMAIN 11; S1)."""

from uuid import UUID

from prometheus_client import Counter

import core.log
from api.billing import invoices, repository
from api.billing.lifecycle import FREE, TAKEN, PaymentEvent
from api.billing.repository import Payment, Refund
from api.billing.service import ACTOR, invoice_and_tell
from api.deps import ApiDeps
from api.partners.payments import GatewayStatus, PaymentGateway
from core.contracts.jobs import CapturePayment, Notify, PaymentReleased, ReleasePayment
from core.contracts.states import PaymentState
from core.db import Connection
from core.errors import Unavailable
from core.ids import new_id
from core.jobs import defer

log = core.log.get(__name__)

# Each of these wants a person: money and service disagree.
ALERTS = Counter("caas_billing_alerts", "Payments that need a person", ["alert"])

VOIDED, REFUNDED, NONE = "VOIDED", "REFUNDED", "NONE"


async def capture(deps: ApiDeps, job: CapturePayment) -> None:
    """Capture the hold of a proved service, once; invoice it and tell the customer.

    Repeating it changes nothing. A hold that is gone is an alert: the service is on, unpaid.
    """
    payment = await _load(deps, job.payment_id)
    if payment.status is not PaymentState.AUTHORIZED:
        await _check_captured(deps, payment)
        return
    answer = await PaymentGateway(deps.partners.payments).capture(_tx(payment))
    if answer.status is not GatewayStatus.CAPTURED:
        await _hold_lost(deps, payment, answer.status)
        return
    async with deps.database.transaction() as conn:
        present = await repository.payment(conn, payment.payment_id, lock=True)
        if present.status is PaymentState.AUTHORIZED:
            await _captured(conn, deps, present)


async def release(deps: ApiDeps, job: ReleasePayment) -> None:
    """Void the hold, or refund what was taken, then tell the engine the money is free."""
    outcome = await free(deps, job.payment_id, job.reason)
    async with deps.database.transaction() as conn:
        await defer(conn, PaymentReleased(activation_id=job.activation_id, outcome=outcome))


async def free(deps: ApiDeps, payment_id: UUID, reason: str) -> str:
    """Give the money back, whichever way it takes: VOIDED, REFUNDED (ordered) or NONE (had none).

    Repeating it moves nothing. Unavailable while the payment's own fate is not known.
    """
    payment = await _load(deps, payment_id)
    if payment.status is PaymentState.AUTHORIZED:
        answer = await PaymentGateway(deps.partners.payments).void(_tx(payment))
        payment = await _after_void(deps, payment, answer.status, reason)
    if payment.status in TAKEN or payment.status is PaymentState.REFUNDING:
        await _refund(deps, payment, reason)
        return REFUNDED
    match payment.status:
        case PaymentState.REFUNDED:
            return REFUNDED
        case PaymentState.VOIDED:
            return VOIDED
        case state if state in FREE:
            return NONE
        case PaymentState.INITIATED | PaymentState.PROCESSING:
            raise Unavailable("PAYMENT_IN_DOUBT", "the payment's fate is not known yet")
        case _:
            # The bank has refused or taken back the money: there is none to give back.
            _alert("release_without_money", payment)
            return NONE


async def _after_void(
    deps: ApiDeps, payment: Payment, status: GatewayStatus, reason: str
) -> Payment:
    """Write what the gateway has: voided, or captured by a capture that died before its commit."""
    now = deps.clock.now()
    if status not in (GatewayStatus.VOIDED, GatewayStatus.CAPTURED):
        raise Unavailable("GATEWAY_STATE", f"the hold cannot be voided, it is {status}")
    voided = status is GatewayStatus.VOIDED
    async with deps.database.transaction() as conn:
        present = await repository.payment(conn, payment.payment_id, lock=True)
        if present.status is PaymentState.AUTHORIZED:
            event = PaymentEvent.VOID if voided else PaymentEvent.CAPTURE
            await repository.move(
                conn,
                payment.payment_id,
                event,
                at=now,
                actor=ACTOR,
                detail={"reason": reason},
            )
        return await repository.payment(conn, payment.payment_id)


async def _refund(deps: ApiDeps, payment: Payment, reason: str) -> None:
    """Order the refund at the gateway, with its row and the credit note; repeatable."""
    now = deps.clock.now()
    async with deps.database.transaction() as conn:
        refund = await repository.refund_of(conn, payment.payment_id)
        if refund is None:
            refund = await _open_refund(conn, deps, payment, reason)
    if refund.gateway_refund_id is not None:
        return
    answer = await PaymentGateway(deps.partners.payments).refund(
        _tx(payment), amount=payment.amount, idempotency_key=str(refund.refund_id)
    )
    async with deps.database.transaction() as conn:
        if await repository.accept_refund(conn, refund.refund_id, answer.refund_id):
            await invoices.credit(conn, payment, reason=reason, at=now)


async def _open_refund(conn: Connection, deps: ApiDeps, payment: Payment, reason: str) -> Refund:
    now = deps.clock.now()
    await repository.move(
        conn,
        payment.payment_id,
        PaymentEvent.REFUND,
        at=now,
        actor=ACTOR,
        detail={"reason": reason},
    )
    refund = Refund(
        refund_id=new_id(),
        payment_id=payment.payment_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        reason=reason,
        gateway_refund_id=None,
        state="PENDING",
    )
    await repository.insert_refund(
        conn,
        {
            "refund_id": refund.refund_id,
            "payment_id": refund.payment_id,
            "amount_minor": refund.amount_minor,
            "currency": refund.currency,
            "reason": reason,
            "at": now,
        },
    )
    return refund


async def _captured(conn: Connection, deps: ApiDeps, payment: Payment) -> None:
    await repository.move(
        conn, payment.payment_id, PaymentEvent.CAPTURE, at=deps.clock.now(), actor=ACTOR
    )
    await invoice_and_tell(conn, deps, payment)


async def _hold_lost(deps: ApiDeps, payment: Payment, status: GatewayStatus) -> None:
    """The gateway let the hold go: note it, and let operations know. The service stays on (S3)."""
    if status is not GatewayStatus.VOIDED:
        raise Unavailable("GATEWAY_STATE", f"the hold cannot be captured, it is {status}")
    _alert("capture_of_voided_hold", payment)
    async with deps.database.transaction() as conn:
        present = await repository.payment(conn, payment.payment_id, lock=True)
        if present.status is PaymentState.AUTHORIZED:
            await repository.move(
                conn,
                payment.payment_id,
                PaymentEvent.VOID,
                at=deps.clock.now(),
                actor="gateway",
                detail={"reason": "hold lost"},
            )
            await _tell_operations(conn, payment, "capture_of_voided_hold")


async def _tell_operations(conn: Connection, payment: Payment, alert: str) -> None:
    await defer(
        conn,
        Notify(
            event="payment_alert",
            dedupe_key=f"{alert}:{payment.payment_id}",
            staff_role="OPERATIONS",
            data={"payment_id": str(payment.payment_id), "amount": str(payment.amount)},
        ),
    )


async def _check_captured(deps: ApiDeps, payment: Payment) -> None:
    """A capture that comes again is fine; one of money that is not with us is an alert.

    So it is where a proof came late: the hold was let go already, and the service is on (DOMAIN 7).
    """
    if payment.status in (PaymentState.CAPTURED, PaymentState.SETTLED):
        return
    _alert("capture_refused", payment)
    async with deps.database.transaction() as conn:
        await _tell_operations(conn, payment, "capture_refused")


def _alert(alert: str, payment: Payment) -> None:
    ALERTS.labels(alert).inc()
    log.error("payment alert", alert=alert, payment_id=str(payment.payment_id), state=payment.state)


def _tx(payment: Payment) -> str:
    assert payment.gateway_tx_id is not None, "a payment beyond PROCESSING has its number"
    return payment.gateway_tx_id


async def _load(deps: ApiDeps, payment_id: UUID) -> Payment:
    async with deps.database.transaction() as conn:
        return await repository.payment(conn, payment_id)
