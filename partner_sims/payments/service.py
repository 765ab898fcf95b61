"""Transactions: one idempotency key never moves money twice, every movement is in the ledger."""

import hashlib
from dataclasses import dataclass

from core.ids import new_id
from partner_sims.errors import PartnerError
from partner_sims.payments import rules
from partner_sims.payments.model import Card, Movement, Refund, Transaction
from partner_sims.payments.rules import TRANSACTION, Event, Status
from partner_sims.payments.schemas import CardIn, RefundIn, TransactionIn
from partner_sims.sims import Sims

PENDING_DUE = "payments.pending"
SETTLE_DUE = "payments.settle"
REFUND_DUE = "payments.refund"

_EVENT_OF_CAPTURE = {True: Event.CAPTURE, False: Event.AUTHORISE}


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the issuer says to a request."""

    status: Status
    error_code: str | None = None
    reason: str | None = None


def tokenize(sims: Sims, body: CardIn) -> Card:
    """Trade a card for a token; PartnerError 422 for a number or date that cannot be one."""
    pan = body.pan.get_secret_value().replace(" ", "").replace("-", "")
    if not rules.is_card_number(pan):
        raise PartnerError(422, "INVALID_CARD", "the card number is not valid")
    now = sims.now()
    expired = rules.is_expired(body.exp, now.year, now.month)
    if expired is None or expired:
        raise PartnerError(422, "INVALID_EXPIRY", "the expiry date is not valid or has passed")
    if not (body.cvv.get_secret_value().isdigit() and 3 <= len(body.cvv) <= 4):
        raise PartnerError(422, "INVALID_CVC", "the security code has three or four digits")
    card = Card(f"tok_{new_id().hex}", rules.brand_of(pan), pan[-4:], rules.outcome_of(pan))
    sims.store.run(
        "card_insert",
        payment_token=card.payment_token,
        brand=card.brand,
        last4=card.last4,
        outcome=card.outcome,
    )
    return card


def create(sims: Sims, body: TransactionIn) -> Transaction:
    """Charge or hold, or find what this key did before; PartnerError 409 if it asked otherwise."""
    request_hash = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    earlier = sims.store.one(
        Transaction, "transaction_by_key", idempotency_key=body.idempotency_key
    )
    if earlier is not None:
        if earlier.request_hash != request_hash:
            raise PartnerError(409, "IDEMPOTENCY_CONFLICT", "this key was used for another request")
        return earlier
    verdict = _verdict(sims, body)
    transaction = Transaction(
        transaction_id=f"txn_{new_id().hex}",
        idempotency_key=body.idempotency_key,
        request_hash=request_hash,
        type=body.type,
        amount_minor=body.amount_minor,
        currency=body.currency,
        payment_token=body.payment_token,
        capture=int(body.capture),
        reference=body.reference,
        status=verdict.status.value,
        error_code=verdict.error_code,
        reason=verdict.reason,
        created_at=sims.stamp(),
    )
    _insert(sims, transaction)
    _book_entry(sims, transaction)
    return transaction


def find(sims: Sims, transaction_id: str) -> Transaction:
    """The transaction, else PartnerError 404."""
    found = sims.store.one(Transaction, "transaction_get", transaction_id=transaction_id)
    if found is None:
        raise PartnerError(404, "TRANSACTION_NOT_FOUND", "no such transaction")
    return found


def capture(sims: Sims, transaction_id: str) -> Transaction:
    """Take the held money, once; repeating it answers the same, anything else is 409."""
    transaction = find(sims, transaction_id)
    if transaction.state is Status.CAPTURED:
        return transaction
    if transaction.state is Status.PENDING:
        raise PartnerError(409, "INVALID_STATE", "the hold is still pending")
    _move(sims, transaction, Event.CAPTURE)
    book(sims, transaction, "capture", transaction.amount_minor)
    sims.due.after(sims.settings.settle_delay_s, SETTLE_DUE, transaction_id)
    return find(sims, transaction_id)


def void(sims: Sims, transaction_id: str) -> Transaction:
    """Let the held money go; repeating it answers the same, after a capture it is 409."""
    transaction = find(sims, transaction_id)
    if transaction.state is Status.VOIDED:
        return transaction
    _move(sims, transaction, Event.VOID)
    book(sims, transaction, "void", transaction.amount_minor)
    return find(sims, transaction_id)


def refund(sims: Sims, transaction_id: str, body: RefundIn, key: str | None) -> Refund:
    """Order money back, never more than was captured; it completes later."""
    transaction = find(sims, transaction_id)
    if body.originalTransactionId != transaction_id:
        raise PartnerError(400, "INVALID_REQUEST", "originalTransactionId is another transaction")
    key = key or body.idempotency_key
    if key is not None:
        earlier = sims.store.one(Refund, "refund_by_key", idempotency_key=key)
        if earlier is not None:
            if (earlier.transaction_id, earlier.amount_minor) != (
                transaction_id,
                body.amount_minor,
            ):
                raise PartnerError(
                    409, "IDEMPOTENCY_CONFLICT", "this key was used for another refund"
                )
            return earlier
    if transaction.state is not Status.CAPTURED:
        raise PartnerError(409, "INVALID_STATE", f"the transaction is {transaction.status}")
    refundable = transaction.amount_minor - refunded_minor(refunds_of(sims, transaction_id))
    if body.amount_minor > refundable:
        raise PartnerError(
            409, "REFUND_EXCEEDS_CAPTURE", f"{refundable} minor units are refundable"
        )
    refund_id = f"ref_{new_id().hex}"
    sims.store.run(
        "refund_insert",
        refund_id=refund_id,
        transaction_id=transaction_id,
        idempotency_key=key,
        amount_minor=body.amount_minor,
        created_at=sims.stamp(),
    )
    sims.due.after(sims.settings.refund_delay_s, REFUND_DUE, refund_id)
    return find_refund(sims, refund_id)


def find_refund(sims: Sims, refund_id: str) -> Refund:
    """The refund, else PartnerError 404."""
    found = sims.store.one(Refund, "refund_get", refund_id=refund_id)
    if found is None:
        raise PartnerError(404, "REFUND_NOT_FOUND", "no such refund")
    return found


def refunds_of(sims: Sims, transaction_id: str) -> list[Refund]:
    """Every refund of a transaction, oldest first."""
    return sims.store.all(Refund, "refund_list", transaction_id=transaction_id)


def refunded_minor(refunds: list[Refund]) -> int:
    """What has gone back or is on its way."""
    return sum(refund.amount_minor for refund in refunds if refund.status != "DENIED")


def ledger(sims: Sims, reference: str | None, transaction_id: str | None) -> list[Movement]:
    """Every movement, oldest first."""
    return sims.store.all(
        Movement, "movement_list", reference=reference, transaction_id=transaction_id
    )


def book(sims: Sims, transaction: Transaction, kind: str, amount_minor: int) -> None:
    """Write one line of the ledger."""
    sims.store.run(
        "movement_insert",
        movement_id=str(new_id()),
        transaction_id=transaction.transaction_id,
        kind=kind,
        amount_minor=amount_minor,
        currency=transaction.currency,
        reference=transaction.reference,
        at=sims.stamp(),
    )


def resolve_pending(sims: Sims, transaction_id: str) -> None:
    """A 202 becomes what it was asked to be."""
    transaction = find(sims, transaction_id)
    if transaction.state is Status.PENDING:
        _move(sims, transaction, _EVENT_OF_CAPTURE[bool(transaction.capture)])
        _book_entry(sims, find(sims, transaction_id))


def _verdict(sims: Sims, body: TransactionIn) -> _Verdict:
    text = body.model_dump_json()
    fault = sims.faults.take("payments", ("decline", "pending"), text)
    card = sims.store.one(Card, "card_get", payment_token=body.payment_token)
    code = "INVALID_CARD" if card is None else card.outcome
    if fault is not None and fault.mode == "decline":
        code = fault.code or "CARD_DECLINED"
    if code in rules.DECLINES or (fault is not None and fault.mode == "decline"):
        return _Verdict(Status.DECLINED, code, rules.DECLINES.get(code, "declined"))
    if code == rules.PENDING_CARD or fault is not None:
        return _Verdict(Status.PENDING)
    return _Verdict(TRANSACTION.next(Status.PENDING, _EVENT_OF_CAPTURE[body.capture]))


def _book_entry(sims: Sims, transaction: Transaction) -> None:
    """What a transaction moves when it comes to its first lasting state."""
    if transaction.state is Status.PENDING:
        sims.due.after(sims.settings.pending_delay_s, PENDING_DUE, transaction.transaction_id)
    if transaction.state in (Status.AUTHORIZED, Status.CAPTURED):
        book(sims, transaction, "authorise", transaction.amount_minor)
    if transaction.state is Status.CAPTURED:
        book(sims, transaction, "capture", transaction.amount_minor)
        sims.due.after(sims.settings.settle_delay_s, SETTLE_DUE, transaction.transaction_id)


def _insert(sims: Sims, transaction: Transaction) -> None:
    sims.store.run(
        "transaction_insert",
        transaction_id=transaction.transaction_id,
        idempotency_key=transaction.idempotency_key,
        request_hash=transaction.request_hash,
        type=transaction.type,
        amount_minor=transaction.amount_minor,
        currency=transaction.currency,
        payment_token=transaction.payment_token,
        capture=transaction.capture,
        reference=transaction.reference,
        status=transaction.status,
        error_code=transaction.error_code,
        reason=transaction.reason,
        created_at=transaction.created_at,
    )


def _move(sims: Sims, transaction: Transaction, event: Event) -> None:
    if not TRANSACTION.allows(transaction.state, event):
        raise PartnerError(
            409,
            "INVALID_STATE",
            f"the transaction is {transaction.status}",
            details={"status": transaction.status},
        )
    sims.store.run(
        "transaction_move",
        transaction_id=transaction.transaction_id,
        source=transaction.status,
        target=TRANSACTION.next(transaction.state, event).value,
    )
