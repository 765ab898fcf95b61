"""What the bank does later: settlements and refunds, each told by webhook (DOMAIN 11, 17)."""

import json
from typing import Any

from core.ids import new_id
from partner_sims.payments import rules, service
from partner_sims.payments.model import Card, Settlement, Transaction
from partner_sims.sims import Sims

SETTLEMENT_PATH = "/api/v1/webhooks/settlement"
REFUND_PATH = "/api/v1/webhooks/refund"
_SETTLE_MODES = ("settle_fail", "settle_partial", "settle_never")


def install(sims: Sims) -> None:
    """Take over the gateway's timers."""
    sims.due.on(service.PENDING_DUE, lambda key: service.resolve_pending(sims, key))
    sims.due.on(service.SETTLE_DUE, lambda key: settle(sims, key))
    sims.due.on(service.REFUND_DUE, lambda key: complete_refund(sims, key))


def settle(sims: Sims, transaction_id: str) -> None:
    """The bank pays out, refuses, pays in part or stays silent."""
    transaction = service.find(sims, transaction_id)
    text = f"{transaction_id} {transaction.reference} {transaction.type}"
    fault = sims.faults.take("payments", _SETTLE_MODES, text)
    mode = fault.mode if fault else ""
    if mode == "settle_never":
        return
    card = sims.store.one(Card, "card_get", payment_token=transaction.payment_token)
    if card is not None and card.outcome == rules.SETTLEMENT_FAILS:
        mode = "settle_fail"
    now = sims.now()
    body = _notice(transaction, mode, sims.stamp())
    sims.store.run(
        "settlement_insert",
        transaction_id=transaction_id,
        body=json.dumps(body),
        at=body["settlementDate"],
    )
    sims.outbox.put("payments", SETTLEMENT_PATH, body, now)


def complete_refund(sims: Sims, refund_id: str) -> None:
    """The money is back with the customer, or (fault ``deny``) the bank says no."""
    refund = service.find_refund(sims, refund_id)
    transaction = service.find(sims, refund.transaction_id)
    text = f"{refund_id} {transaction.transaction_id} {transaction.reference}"
    denied = sims.faults.take("payments", ("deny",), text) is not None
    status = "DENIED" if denied else "COMPLETED"
    now = sims.now()
    if not sims.store.run(
        "refund_end", refund_id=refund_id, status=status, completed_at=sims.stamp()
    ):
        return
    if not denied:
        service.book(sims, transaction, "refund", refund.amount_minor)
    body = {"refundId": refund_id, "status": status, "timestamp": sims.stamp()}
    sims.outbox.put("payments", REFUND_PATH, body, now)


def settlement_of(sims: Sims, transaction_id: str) -> dict[str, Any] | None:
    """The settlement of a transaction, if there is one yet."""
    found = sims.store.one(Settlement, "settlement_get", transaction_id=transaction_id)
    return None if found is None else json.loads(found.body)


def settlements(sims: Sims, since: str | None, until: str | None) -> list[dict[str, Any]]:
    """The settlements of a period, oldest first."""
    rows = sims.store.all(Settlement, "settlement_list", since=since, until=until)
    return [json.loads(row.body) for row in rows]


def _notice(transaction: Transaction, mode: str, at: str) -> dict[str, Any]:
    failed = mode == "settle_fail"
    amount = transaction.amount_minor // 2 if mode == "settle_partial" else transaction.amount_minor
    return {
        "paymentId": transaction.transaction_id,
        "status": "FAILED" if failed else "SETTLED",
        "settlementAmount": 0 if failed else amount,
        "currency": transaction.currency,
        "settlementDate": at,
        "failureReason": "REFUSED_BY_BANK" if failed else None,
        "bankTransactionId": None if failed else f"bnk_{new_id().hex}",
        "fees": 0 if failed else rules.fees_minor(amount),
        "reference": transaction.reference,
    }
