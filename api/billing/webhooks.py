"""The gateway's notices: settled, refunded. Taken into the inbox, then worked off (DOMAIN 17)."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, ValidationError

import core.log
from api import limits
from api.billing import repository
from api.billing.jobs import PaymentWebhook
from api.billing.lifecycle import PAYMENT, PaymentEvent
from api.billing.release import ALERTS
from api.billing.repository import Payment, Refund
from api.deps import ApiDeps, Deps
from api.webhooks import inbox
from core.contracts.jobs import Notify
from core.contracts.states import PaymentState
from core.db import Connection
from core.errors import Invalid, NotFound, Unauthenticated, Unavailable
from core.jobs import defer

log = core.log.get(__name__)
router = APIRouter(prefix="/webhooks", tags=["webhooks"])

Text = Annotated[str | None, Header()]
Kind = Literal["settlement", "refund"]


class SettlementIn(BaseModel):
    """What the bank did with a captured payment; ``paymentId`` is the gateway's number."""

    model_config = ConfigDict(extra="ignore")

    paymentId: str  # noqa: N815 - the contract's spelling
    status: Literal["SETTLED", "FAILED"]
    settlementAmount: int = 0  # noqa: N815
    settlementDate: datetime  # noqa: N815
    failureReason: str | None = None  # noqa: N815
    bankTransactionId: str | None = None  # noqa: N815
    fees: int = 0


class RefundIn(BaseModel):
    """A refund has ended."""

    model_config = ConfigDict(extra="ignore")

    refundId: str  # noqa: N815
    status: Literal["COMPLETED", "DENIED"]
    timestamp: datetime


_MODELS: dict[str, type[BaseModel]] = {"settlement": SettlementIn, "refund": RefundIn}


@router.post("/settlement")
async def settlement(
    request: Request,
    deps: Deps,
    x_signature: Text = None,
    x_webhook_id: Text = None,
    x_webhook_timestamp: Text = None,
) -> dict[str, bool]:
    """Take the bank's notice of a settlement; 401 for a bad signature or an old delivery."""
    return await _take(deps, "settlement", request, x_signature, x_webhook_id, x_webhook_timestamp)


@router.post("/refund")
async def refund(
    request: Request,
    deps: Deps,
    x_signature: Text = None,
    x_webhook_id: Text = None,
    x_webhook_timestamp: Text = None,
) -> dict[str, bool]:
    """Take the gateway's notice that a refund has ended."""
    return await _take(deps, "refund", request, x_signature, x_webhook_id, x_webhook_timestamp)


async def _take(
    deps: ApiDeps,
    kind: Kind,
    request: Request,
    given: str | None,
    message_id: str | None,
    sent_at: str | None,
) -> dict[str, bool]:
    settings, now = deps.settings.partner, deps.clock.now()
    # By address: strangers who shout must not silence the gateway.
    address = request.client.host if request.client else "unknown"
    key = f"webhook:payments:{address}"
    await limits.hit(deps.database, key, limit=settings.webhook_rate, now=now)
    raw = await request.body()
    if not inbox.is_signed(raw, settings.payments_webhook_secret.get_secret_value(), given):
        raise Unauthenticated("BAD_SIGNATURE", "the signature does not fit the body")
    if not is_fresh(sent_at, now, settings.webhook_max_age_s):
        raise Unauthenticated("STALE_WEBHOOK", "the delivery is too old, or its time unreadable")
    body = _parse(kind, raw)
    if not message_id:
        raise Invalid("WEBHOOK_ID_MISSING", "a delivery needs its X-Webhook-Id")
    async with deps.database.transaction() as conn:
        new = await inbox.take(conn, source="payments", message_id=message_id, body=body, now=now)
        if new:
            await defer(conn, PaymentWebhook(kind=kind, message_id=message_id, body=body))
    log.info("webhook", source="payments", kind=kind, message_id=message_id, new=new)
    return {"received": True}


def is_fresh(sent_at: str | None, now: datetime, max_age_s: float) -> bool:
    """True where the delivery was sent within ``max_age_s`` of now (DOMAIN 17)."""
    try:
        sent = datetime.fromisoformat(sent_at or "")
    except ValueError:
        return False
    return sent.tzinfo is not None and abs(now - sent) <= timedelta(seconds=max_age_s)


def _parse(kind: Kind, raw: bytes) -> dict[str, Any]:
    try:
        body: Any = inbox.read_json(raw)
        _MODELS[kind].model_validate(body)
    except (ValueError, ValidationError):
        raise Invalid("INVALID_PAYLOAD", f"the body is not a {kind} notice") from None
    return cast("dict[str, Any]", body)


async def work_off(deps: ApiDeps, job: PaymentWebhook) -> None:
    """Act on a notice; repeating it changes nothing. Unavailable: it came before its fact."""
    async with deps.database.transaction() as conn:
        if job.kind == "settlement":
            await _settle(conn, deps, SettlementIn.model_validate(job.body))
        else:
            await _end_refund(conn, RefundIn.model_validate(job.body))


async def _settle(conn: Connection, deps: ApiDeps, notice: SettlementIn) -> None:
    payment = await repository.payment_by_gateway_tx(conn, notice.paymentId)
    if payment is None:
        raise NotFound("PAYMENT_NOT_FOUND", f"no payment has the number {notice.paymentId}")
    if payment.status in (PaymentState.PROCESSING, PaymentState.AUTHORIZED):
        raise Unavailable("PAYMENT_IN_DOUBT", "its capture is not written yet")
    await repository.note_settlement(
        conn,
        {
            "payment_id": payment.payment_id,
            "amount_minor": notice.settlementAmount,
            "at": notice.settlementDate,
            "bank_transaction_id": notice.bankTransactionId,
            "fees_minor": notice.fees,
            "failure_reason": notice.failureReason,
        },
    )
    settled = notice.status == "SETTLED"
    event = PaymentEvent.SETTLE if settled else PaymentEvent.SETTLEMENT_REFUSED
    if settled and notice.settlementAmount != payment.amount_minor:
        _alert("settlement_differs", payment)
    if not settled:
        _alert("settlement_failed", payment)
    if PAYMENT.allows(payment.status, event):
        await repository.move(conn, payment.payment_id, event, at=deps.clock.now(), actor="bank")


async def _end_refund(conn: Connection, notice: RefundIn) -> None:
    refund = await repository.refund_by_gateway_id(conn, notice.refundId)
    if refund is None:
        unknown = f"no refund has the number {notice.refundId}"
        # The notice can overtake the commit that writes the gateway's number.
        if await repository.has_refund_without_number(conn):
            raise Unavailable("REFUND_UNKNOWN", unknown)
        raise NotFound("REFUND_NOT_FOUND", unknown)
    if not await repository.end_refund(conn, refund.refund_id, notice.status, notice.timestamp):
        return
    payment = await repository.payment(conn, refund.payment_id)
    if notice.status == "DENIED":
        _alert("refund_denied", payment)
        return
    await repository.move(
        conn,
        payment.payment_id,
        PaymentEvent.REFUND_DONE,
        at=notice.timestamp,
        actor="gateway",
    )
    await defer(conn, _refund_notice(payment, refund))


def _refund_notice(payment: Payment, refund: Refund) -> Notify:
    return Notify(
        event="refund",
        dedupe_key=f"refund:{refund.refund_id}",
        customer_id=payment.customer_id,
        vin=payment.document.get("vin"),
        data={
            "amount": str(payment.amount),
            "description": payment.description,
            "reason": refund.reason,
        },
    )


def _alert(alert: str, payment: Payment) -> None:
    ALERTS.labels(alert).inc()
    log.error("payment alert", alert=alert, payment_id=str(payment.payment_id), state=payment.state)
