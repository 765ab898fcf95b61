"""Rows of payments, refunds and invoices; every state change writes its history with it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from api.billing.lifecycle import PAYMENT, PaymentEvent
from core.contracts.states import PaymentState
from core.db import Connection, load_queries
from core.errors import IllegalTransition, NotFound
from core.money import Money

SQL = load_queries("api.billing")


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment; ``target`` is the order or the activation it is for."""

    payment_id: UUID
    type: str
    amount_minor: int
    currency: str
    customer_id: UUID
    target: UUID
    payment_token: str = field(repr=False)
    idempotency_key: str
    state: str
    gateway_tx_id: str | None
    error_code: str | None
    description: str
    document: dict[str, Any]
    created_at: datetime

    @property
    def amount(self) -> Money:
        return Money(self.amount_minor, self.currency)

    @property
    def status(self) -> PaymentState:
        return PaymentState(self.state)

    @property
    def is_hold(self) -> bool:
        """A service is held first; a vehicle's payment is charged at once (DOMAIN 11)."""
        return self.type == "SERVICE"


@dataclass(frozen=True, slots=True)
class Refund:
    """Money on its way back."""

    refund_id: UUID
    payment_id: UUID
    amount_minor: int
    currency: str
    reason: str
    gateway_refund_id: str | None
    state: str


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice or credit note; amounts include tax, minor units."""

    invoice_id: UUID
    number: str
    type: str
    payment_id: UUID
    customer_id: UUID
    original_invoice_id: UUID | None
    currency: str
    total_minor: int
    net_minor: int
    vat_minor: int
    vat_percent: Decimal
    country: str
    status: str
    issued_at: datetime
    due_date: date
    lines: list[dict[str, Any]]
    refs: dict[str, Any]


async def insert_payment(conn: Connection, row: Mapping[str, Any]) -> None:
    """A payment in INITIATED; UniqueConflict where its key, or its target, has one already."""
    await conn.execute(SQL["insert_payment"], {**row, "document": json.dumps(row["document"])})


async def payment(conn: Connection, payment_id: UUID, *, lock: bool = False) -> Payment:
    """The payment, else NotFound; ``lock`` keeps it as it is until commit."""
    query = SQL["lock_payment" if lock else "payment"]
    found = await conn.one_or_none(Payment, query, {"payment_id": payment_id})
    if found is None:
        raise NotFound("PAYMENT_NOT_FOUND", "no such payment")
    return found


async def payment_by_key(
    conn: Connection, customer_id: UUID, idempotency_key: str
) -> Payment | None:
    return await conn.one_or_none(
        Payment,
        SQL["payment_by_key"],
        {"customer_id": customer_id, "idempotency_key": idempotency_key},
    )


async def payment_by_gateway_tx(conn: Connection, gateway_tx_id: str) -> Payment | None:
    return await conn.one_or_none(
        Payment, SQL["payment_by_gateway_tx"], {"gateway_tx_id": gateway_tx_id}
    )


async def move(
    conn: Connection,
    payment_id: UUID,
    event: PaymentEvent,
    *,
    at: datetime,
    actor: str,
    gateway_tx_id: str | None = None,
    error_code: str | None = None,
    check_at: datetime | None = None,
    detail: Mapping[str, Any] | None = None,
) -> PaymentState:
    """One transition of the table with its history row; IllegalTransition where it is not listed.

    ``check_at`` belongs to PROCESSING: when the payment's fate is asked for again.
    """
    sources = PAYMENT.sources(event)
    target = PAYMENT.next(sources[0], event)  # every event of this table has one target
    moved = await conn.execute(
        SQL["move_payment"],
        {
            "payment_id": payment_id,
            "sources": [state.value for state in sources],
            "event": event.value,
            "target": target.value,
            "at": at,
            "actor": actor,
            "gateway_tx_id": gateway_tx_id,
            "error_code": error_code,
            "check_at": check_at,
            "detail": json.dumps(detail or {}),
        },
    )
    if moved == 0:
        present = await payment(conn, payment_id)
        raise IllegalTransition(PAYMENT.name, present.state, event.value)
    return target


async def note_pending(
    conn: Connection,
    payment_id: UUID,
    *,
    gateway_tx_id: str | None,
    check_at: datetime,
    at: datetime,
) -> None:
    """The gateway has it and has not decided yet."""
    await conn.execute(
        SQL["note_pending"],
        {
            "payment_id": payment_id,
            "gateway_tx_id": gateway_tx_id,
            "check_at": check_at,
            "at": at,
        },
    )


async def claim_unknown(conn: Connection, *, now: datetime, next_check: datetime) -> list[UUID]:
    """Payments whose fate is to be asked for now, each given to one caller."""
    rows = await conn.dicts(SQL["claim_unknown"], {"now": now, "next_check": next_check})
    return [row["payment_id"] for row in rows]


async def insert_refund(conn: Connection, row: Mapping[str, Any]) -> None:
    await conn.execute(SQL["insert_refund"], row)


async def refund_of(conn: Connection, payment_id: UUID) -> Refund | None:
    return await conn.one_or_none(Refund, SQL["refund_of"], {"payment_id": payment_id})


async def refund_by_gateway_id(conn: Connection, gateway_refund_id: str) -> Refund | None:
    return await conn.one_or_none(
        Refund, SQL["refund_by_gateway_id"], {"gateway_refund_id": gateway_refund_id}
    )


async def has_refund_without_number(conn: Connection) -> bool:
    """True while the gateway may have taken on a refund whose number is not written yet."""
    return bool(await conn.value(SQL["refund_without_number"]))


async def accept_refund(conn: Connection, refund_id: UUID, gateway_refund_id: str) -> bool:
    """Note the gateway's number; False where it was noted before."""
    row = {"refund_id": refund_id, "gateway_refund_id": gateway_refund_id}
    return await conn.execute(SQL["accept_refund"], row) == 1


async def end_refund(conn: Connection, refund_id: UUID, state: str, at: datetime) -> bool:
    """COMPLETED or DENIED; False where it had ended before."""
    row = {"refund_id": refund_id, "state": state, "at": at}
    return await conn.execute(SQL["end_refund"], row) == 1


async def note_settlement(conn: Connection, row: Mapping[str, Any]) -> None:
    await conn.execute(SQL["settle"], row)


async def next_invoice_number(conn: Connection, series: str) -> int:
    return int(await conn.value(SQL["next_invoice_number"], {"series": series}))


async def insert_invoice(conn: Connection, invoice: Invoice) -> None:
    row = {name: getattr(invoice, name) for name in Invoice.__slots__}
    row["lines"], row["refs"] = json.dumps(invoice.lines), json.dumps(invoice.refs)
    await conn.execute(SQL["insert_invoice"], row)


async def invoice(conn: Connection, invoice_id: UUID) -> Invoice | None:
    return await conn.one_or_none(Invoice, SQL["invoice"], {"invoice_id": invoice_id})


async def invoice_of_payment(conn: Connection, payment_id: UUID) -> Invoice | None:
    return await conn.one_or_none(Invoice, SQL["invoice_of_payment"], {"payment_id": payment_id})


async def invoices_of_customer(conn: Connection, customer_id: UUID) -> list[Invoice]:
    return await conn.all(Invoice, SQL["invoices_of_customer"], {"customer_id": customer_id})


async def payments_list(conn: Connection, *, state: str | None, limit: int) -> list[dict[str, Any]]:
    return await conn.dicts(SQL["payments_list"], {"state": state, "limit": limit})


async def payment_sums(conn: Connection) -> list[dict[str, Any]]:
    return await conn.dicts(SQL["payment_sums"])
