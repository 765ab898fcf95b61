"""Invoices and credit notes, written in the transaction of the money they document (DOMAIN 14)."""

from datetime import datetime, timedelta
from typing import Any

from api.billing import repository
from api.billing.repository import Invoice, Payment
from api.billing.rules import invoice_number, split_vat
from api.customers import service as customers
from core.db import Connection
from core.ids import new_id

_SERIES = {"CREDIT_NOTE": "CRN"}


async def issue(conn: Connection, payment: Payment, *, at: datetime, due_days: int) -> Invoice:
    """The invoice of a payment that is in; the one it has already, if there is one."""
    existing = await repository.invoice_of_payment(conn, payment.payment_id)
    if existing is not None:
        return existing
    customer = await customers.get(conn, payment.customer_id)
    vat = split_vat(payment.amount_minor, customer.country)
    invoice = Invoice(
        invoice_id=new_id(),
        number=await _number(conn, payment.type, at),
        type=payment.type,
        payment_id=payment.payment_id,
        customer_id=payment.customer_id,
        original_invoice_id=None,
        currency=payment.currency,
        total_minor=payment.amount_minor,
        net_minor=vat.net_minor,
        vat_minor=vat.vat_minor,
        vat_percent=vat.percent,
        country=customer.country,
        status="PAID",
        issued_at=at,
        due_date=(at + timedelta(days=due_days)).date(),
        lines=[{"text": payment.description, "amount_minor": payment.amount_minor}],
        refs={**payment.document, "target": str(payment.target), "customer_name": customer.name},
    )
    await repository.insert_invoice(conn, invoice)
    return invoice


async def credit(conn: Connection, payment: Payment, *, reason: str, at: datetime) -> None:
    """The credit note of a refunded payment's invoice; nothing where it has none."""
    original = await repository.invoice_of_payment(conn, payment.payment_id)
    if original is None:
        return
    await repository.insert_invoice(
        conn,
        Invoice(
            invoice_id=new_id(),
            number=await _number(conn, "CREDIT_NOTE", at),
            type="CREDIT_NOTE",
            payment_id=payment.payment_id,
            customer_id=payment.customer_id,
            original_invoice_id=original.invoice_id,
            currency=original.currency,
            total_minor=-original.total_minor,
            net_minor=-original.net_minor,
            vat_minor=-original.vat_minor,
            vat_percent=original.vat_percent,
            country=original.country,
            status="PAID",
            issued_at=at,
            due_date=at.date(),
            lines=_credit_lines(original),
            refs={**original.refs, "original_number": original.number, "reason": reason},
        ),
    )


def _credit_lines(original: Invoice) -> list[dict[str, Any]]:
    return [
        {"text": f"{original.number}: {line['text']}", "amount_minor": -line["amount_minor"]}
        for line in original.lines
    ]


async def _number(conn: Connection, kind: str, at: datetime) -> str:
    series = f"{_SERIES.get(kind, 'INV')}-{at.year}"
    return invoice_number(series, await repository.next_invoice_number(conn, series))
