"""`/payments`: the gateway's contract (DOMAIN 11), its hosted card form and its ledger."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import JSONResponse

from partner_sims.bearer import payment_caller
from partner_sims.errors import PartnerError
from partner_sims.payments import bank, service
from partner_sims.payments.model import Card, Refund, Transaction
from partner_sims.payments.rules import Status
from partner_sims.payments.schemas import CardIn, RefundIn, TransactionIn
from partner_sims.sims import Sims, SimsDep

router = APIRouter(prefix="/payments", tags=["payments"])
_CALLER = [Depends(payment_caller)]


@router.post("/transactions", dependencies=_CALLER)
async def create(body: TransactionIn, sims: SimsDep) -> JSONResponse:
    """Charge (capture) or hold: 200 confirmed, 202 pending, 402 declined."""
    with sims.store.transaction():
        transaction = service.create(sims, body)
    if transaction.state is Status.DECLINED:
        raise PartnerError(
            402,
            transaction.error_code or "CARD_DECLINED",
            transaction.reason or "declined",
            details={"transaction_id": transaction.transaction_id},
        )
    return _answer(transaction)


@router.get("/transactions/{transaction_id}", dependencies=_CALLER)
async def read(transaction_id: str, sims: SimsDep) -> dict[str, Any]:
    """A transaction with its card, refunds and settlement."""
    return _view(sims, service.find(sims, transaction_id))


@router.post("/transactions/{transaction_id}/capture", dependencies=_CALLER)
async def capture(transaction_id: str, sims: SimsDep) -> JSONResponse:
    """Take the held money; at most once, however often it is called."""
    with sims.store.transaction():
        transaction = service.capture(sims, transaction_id)
    return _answer(transaction)


@router.post("/transactions/{transaction_id}/void", dependencies=_CALLER)
async def void(transaction_id: str, sims: SimsDep) -> dict[str, Any]:
    """Let the held money go."""
    with sims.store.transaction():
        transaction = service.void(sims, transaction_id)
    return {"transaction_id": transaction_id, "status": transaction.status}


@router.post("/transactions/{transaction_id}/refund", dependencies=_CALLER)
async def refund(
    transaction_id: str,
    body: RefundIn,
    sims: SimsDep,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:
    """Order money back; completion comes by webhook."""
    with sims.store.transaction():
        ordered = service.refund(sims, transaction_id, body, idempotency_key)
    return _refund_view(ordered)


@router.get("/refunds/{refund_id}", dependencies=_CALLER)
async def read_refund(refund_id: str, sims: SimsDep) -> dict[str, Any]:
    """Where a refund stands, for a lost webhook."""
    return _refund_view(service.find_refund(sims, refund_id))


@router.get("/settlements", dependencies=_CALLER)
async def settlements(
    sims: SimsDep,
    since: Annotated[str | None, Query(alias="from")] = None,
    until: Annotated[str | None, Query(alias="to")] = None,
) -> dict[str, Any]:
    """The bank's settlements, by RFC 3339 time, oldest first."""
    return {"settlements": bank.settlements(sims, since, until)}


@router.post("/_form/tokenize")
async def tokenize(body: CardIn, sims: SimsDep) -> dict[str, Any]:
    """The hosted card form: card in, token out. The platform never sees a card."""
    with sims.store.transaction():
        card = service.tokenize(sims, body)
    return {"payment_token": card.payment_token, "brand": card.brand, "last4": card.last4}


@router.get("/_control/ledger")
async def ledger(
    sims: SimsDep, reference: str | None = None, transaction_id: str | None = None
) -> dict[str, Any]:
    """Every movement of money, oldest first, with totals by kind."""
    movements = service.ledger(sims, reference, transaction_id)
    totals: dict[str, int] = {}
    for movement in movements:
        totals[movement.kind] = totals.get(movement.kind, 0) + movement.amount_minor
    return {"movements": [asdict(movement) for movement in movements], "totals": totals}


def _answer(transaction: Transaction) -> JSONResponse:
    if transaction.state is Status.PENDING:
        return JSONResponse(
            {
                "transaction_id": transaction.transaction_id,
                "pending": True,
                "status": transaction.status,
            },
            status_code=202,
        )
    return JSONResponse(
        {
            "transaction_id": transaction.transaction_id,
            "confirmed": transaction.state in (Status.AUTHORIZED, Status.CAPTURED),
            "status": transaction.status,
        }
    )


def _view(sims: Sims, transaction: Transaction) -> dict[str, Any]:
    refunds = service.refunds_of(sims, transaction.transaction_id)
    card = sims.store.one(Card, "card_get", payment_token=transaction.payment_token)
    captured = transaction.state is Status.CAPTURED
    return {
        "transaction_id": transaction.transaction_id,
        "type": transaction.type,
        "status": transaction.status,
        "confirmed": transaction.state in (Status.AUTHORIZED, Status.CAPTURED),
        "pending": transaction.state is Status.PENDING,
        "amount_minor": transaction.amount_minor,
        "captured_minor": transaction.amount_minor if captured else 0,
        "refunded_minor": service.refunded_minor(refunds),
        "currency": transaction.currency,
        "reference": transaction.reference,
        "idempotency_key": transaction.idempotency_key,
        "error_code": transaction.error_code,
        "reason": transaction.reason,
        "created_at": transaction.created_at,
        "card": {"brand": card.brand, "last4": card.last4} if card else None,
        "refunds": [_refund_view(refund) for refund in refunds],
        "settlement": bank.settlement_of(sims, transaction.transaction_id),
    }


def _refund_view(refund: Refund) -> dict[str, Any]:
    return {
        "refundId": refund.refund_id,
        "status": refund.status,
        "transaction_id": refund.transaction_id,
        "amount_minor": refund.amount_minor,
        "created_at": refund.created_at,
        "completed_at": refund.completed_at,
    }
