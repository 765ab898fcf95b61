"""Payments from their first row to their known fate: charge, hold, decline, doubt (DOMAIN 11).

A payment is committed as PROCESSING before the gateway hears of it, and whoever asks the gateway
may die: `CheckPayment` asks again with the same key, which never charges twice.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import core.log
from api.billing import invoices, repository
from api.billing.jobs import PaymentConcluded
from api.billing.lifecycle import PaymentEvent
from api.billing.repository import Payment
from api.deps import ApiDeps
from api.partners.http import PartnerUnavailable
from api.partners.payments import GatewayAnswer, GatewayStatus, PaymentGateway
from core.contracts.jobs import Notify
from core.contracts.states import PaymentState
from core.db import Connection
from core.db.errors import UniqueConflict
from core.errors import Conflict
from core.ids import new_id
from core.jobs import defer
from core.money import Money

log = core.log.get(__name__)

ACTOR = "billing"


@dataclass(frozen=True, slots=True)
class PaymentOutcome:
    """How a payment stands. PROCESSING: not known yet; `PaymentConcluded` follows later."""

    payment_id: UUID
    state: PaymentState
    error_code: str | None = None


# What a service's purchase does in the transaction in which its hold is authorised or declined.
FollowUp = Callable[[Connection, Payment, PaymentOutcome], Awaitable[None]]


async def charge(
    deps: ApiDeps,
    *,
    type: str,  # noqa: A002 - the payment's type, as the field is called
    amount: Money,
    customer_id: UUID,
    target: UUID,
    payment_token: str,
    idempotency_key: str,
    description: str = "",
    document: Mapping[str, Any] | None = None,
) -> PaymentOutcome:
    """Charge a vehicle's payment (RESERVATION or FINAL) at once; call it outside transactions.

    CONFIRMED, FAILED with ``error_code``, or PROCESSING where the gateway has not said. The same
    key gives the same payment; Conflict where it asks for something else, or where ``target`` has
    such a payment already.
    """
    async with deps.database.transaction() as conn:
        payment = await repository.payment_by_key(conn, customer_id, idempotency_key)
    if payment is None:
        try:
            async with deps.database.transaction() as conn:
                payment = await begin(
                    conn,
                    deps,
                    type=type,
                    amount=amount,
                    customer_id=customer_id,
                    target=target,
                    payment_token=payment_token,
                    idempotency_key=idempotency_key,
                    description=description,
                    document=document,
                )
        except UniqueConflict as error:
            raise _already(error) from None
    elif (payment.type, payment.target, payment.amount) != (type, target, amount):
        raise Conflict("IDEMPOTENCY_CONFLICT", "this key was used for another payment")
    if payment.status is not PaymentState.PROCESSING:
        return _outcome(payment)
    return await submit(deps, payment, None)


async def begin(
    conn: Connection,
    deps: ApiDeps,
    *,
    type: str,  # noqa: A002
    amount: Money,
    customer_id: UUID,
    target: UUID,
    payment_token: str,
    idempotency_key: str,
    description: str = "",
    document: Mapping[str, Any] | None = None,
) -> Payment:
    """The payment's row, INITIATED and then PROCESSING; the caller commits, then submits it."""
    now = deps.clock.now()
    payment_id = new_id()
    await repository.insert_payment(
        conn,
        {
            "payment_id": payment_id,
            "type": type,
            "amount_minor": amount.minor,
            "currency": amount.currency,
            "customer_id": customer_id,
            "target": target,
            "payment_token": payment_token,
            "idempotency_key": idempotency_key,
            "description": description,
            "document": dict(document or {}),
            "at": now,
        },
    )
    await repository.move(
        conn,
        payment_id,
        PaymentEvent.SEND,
        at=now,
        actor=ACTOR,
        check_at=now + timedelta(seconds=deps.settings.billing.recover_after_s),
    )
    return await repository.payment(conn, payment_id)


async def submit(deps: ApiDeps, payment: Payment, follow: FollowUp | None) -> PaymentOutcome:
    """Ask the gateway (outside any transaction), then write what it said.

    May be called again at any time, also by two at once: the gateway knows the key, and only one
    of them moves the payment.
    """
    try:
        answer = await ask(deps, payment)
    except PartnerUnavailable as error:
        log.error("payment in doubt", payment_id=str(payment.payment_id), error=str(error))
        return PaymentOutcome(payment.payment_id, PaymentState.PROCESSING)
    async with deps.database.transaction() as conn:
        present = await repository.payment(conn, payment.payment_id, lock=True)
        if present.status is not PaymentState.PROCESSING:
            return _outcome(present)
        return await conclude(conn, deps, present, answer, follow)


async def ask(deps: ApiDeps, payment: Payment) -> GatewayAnswer:
    """The gateway's word on the payment: by its number, else by sending it (again)."""
    gateway = PaymentGateway(deps.partners.payments)
    if payment.gateway_tx_id is not None:
        return await gateway.find(payment.gateway_tx_id)
    return await gateway.submit(
        kind=payment.type,
        amount=payment.amount,
        payment_token=payment.payment_token,
        capture=not payment.is_hold,
        idempotency_key=str(payment.payment_id),
        reference=str(payment.target),
    )


async def conclude(
    conn: Connection,
    deps: ApiDeps,
    payment: Payment,
    answer: GatewayAnswer,
    follow: FollowUp | None,
) -> PaymentOutcome:
    """Write the gateway's answer to a PROCESSING payment, and all that follows from it, at once."""
    now = deps.clock.now()
    if answer.status is GatewayStatus.PENDING:
        check_at = now + timedelta(seconds=deps.settings.billing.recover_every_s)
        await repository.note_pending(
            conn,
            payment.payment_id,
            gateway_tx_id=answer.transaction_id,
            check_at=check_at,
            at=now,
        )
        return PaymentOutcome(payment.payment_id, PaymentState.PROCESSING)
    event, code = _verdict(payment, answer)
    state = await repository.move(
        conn,
        payment.payment_id,
        event,
        at=now,
        actor="gateway",
        gateway_tx_id=answer.transaction_id,
        error_code=code,
    )
    outcome = PaymentOutcome(payment.payment_id, state, code)
    if state is PaymentState.CONFIRMED:
        await invoice_and_tell(conn, deps, payment)
    elif state is PaymentState.FAILED:
        await _tell_declined(conn, payment, code)
    if follow is not None:
        await follow(conn, payment, outcome)
    if not payment.is_hold:
        await defer(
            conn,
            PaymentConcluded(payment.payment_id, payment.type, payment.target, state, code),
        )
    return outcome


async def invoice_and_tell(conn: Connection, deps: ApiDeps, payment: Payment) -> None:
    """The money is in: invoice, and payment_confirmed to the customer."""
    invoice = await invoices.issue(
        conn, payment, at=deps.clock.now(), due_days=deps.settings.billing.invoice_due_days
    )
    await defer(
        conn,
        Notify(
            event="payment_confirmed",
            dedupe_key=f"payment_confirmed:{payment.payment_id}",
            customer_id=payment.customer_id,
            vin=payment.document.get("vin"),
            data={
                "amount": str(payment.amount),
                "description": payment.description,
                "invoice_number": invoice.number,
            },
        ),
    )


async def _tell_declined(conn: Connection, payment: Payment, code: str | None) -> None:
    await defer(
        conn,
        Notify(
            event="payment_declined",
            dedupe_key=f"payment_declined:{payment.payment_id}",
            customer_id=payment.customer_id,
            vin=payment.document.get("vin"),
            data={
                "amount": str(payment.amount),
                "description": payment.description,
                "reason": code,
            },
        ),
    )


def _verdict(payment: Payment, answer: GatewayAnswer) -> tuple[PaymentEvent, str | None]:
    match answer.status:
        case GatewayStatus.AUTHORIZED if payment.is_hold:
            return PaymentEvent.AUTHORISE, None
        case GatewayStatus.CAPTURED if not payment.is_hold:
            return PaymentEvent.CONFIRM, None
        case GatewayStatus.DECLINED:
            return PaymentEvent.DECLINE, answer.error_code or "CARD_DECLINED"
        case GatewayStatus.VOIDED:
            # We gave up on it, and died before we wrote so.
            return PaymentEvent.DECLINE, "VOIDED"
        case _:
            raise Conflict(
                "GATEWAY_STATE",
                f"the gateway has {answer.status} for a {payment.type} still being processed",
            )


def _outcome(payment: Payment) -> PaymentOutcome:
    return PaymentOutcome(payment.payment_id, payment.status, payment.error_code)


def _already(error: UniqueConflict) -> Conflict:
    if error.constraint == "payment_one_live":
        return Conflict("ALREADY_PAID", "this has been paid, or is being paid, already")
    return Conflict("IN_PROGRESS", "the same request is being worked on")


async def state_of(conn: Connection, payment_id: UUID) -> PaymentState:
    """How a payment stands, else NotFound."""
    return (await repository.payment(conn, payment_id)).status
