"""GET /invoices, /invoices/{id} for customers; GET /finance/payments for finance."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from api.billing import repository
from api.billing.repository import Invoice
from api.billing.schemas import (
    FinancePaymentOut,
    FinancePaymentsOut,
    InvoiceLineOut,
    InvoiceOut,
    InvoicesOut,
    MoneyOut,
    PaymentSumOut,
)
from api.deps import Deps
from api.identity.deps import CurrentPrincipal, CustomerCaller, FinanceCaller
from core.contracts.states import PaymentState, Role
from core.errors import NotFound
from core.money import Money

router = APIRouter(tags=["billing"])

_MAY_READ_ALL = frozenset({Role.FINANCE, Role.ADMIN})


@router.get("/invoices")
async def list_invoices(caller: CustomerCaller, deps: Deps) -> InvoicesOut:
    """The customer's invoices and credit notes, newest first."""
    async with deps.database.transaction() as conn:
        found = await repository.invoices_of_customer(conn, caller.customer)
    return InvoicesOut(invoices=[_out(invoice) for invoice in found])


@router.get("/invoices/{invoice_id}")
async def read_invoice(invoice_id: UUID, caller: CurrentPrincipal, deps: Deps) -> InvoiceOut:
    """One invoice: the customer's own, or any for finance; 404 otherwise."""
    async with deps.database.transaction() as conn:
        invoice = await repository.invoice(conn, invoice_id)
    theirs = invoice is not None and invoice.customer_id == caller.customer_id
    if invoice is None or not (theirs or caller.role in _MAY_READ_ALL):
        raise NotFound("INVOICE_NOT_FOUND", "no such invoice")
    return _out(invoice)


@router.get("/finance/payments")
async def finance_payments(
    _caller: FinanceCaller,
    deps: Deps,
    state: PaymentState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> FinancePaymentsOut:
    """Payments, newest first, and the sums of all of them by state."""
    async with deps.database.transaction() as conn:
        sums = await repository.payment_sums(conn)
        rows = await repository.payments_list(conn, state=state, limit=limit)
    return FinancePaymentsOut(
        sums=[
            PaymentSumOut(
                state=row["state"],
                payments=row["payments"],
                amount=_money(row["amount_minor"], row["currency"]),
            )
            for row in sums
        ],
        payments=[_payment(row) for row in rows],
    )


def _out(invoice: Invoice) -> InvoiceOut:
    def money(minor: int) -> MoneyOut:
        return _money(minor, invoice.currency)

    return InvoiceOut(
        invoice_id=invoice.invoice_id,
        number=invoice.number,
        type=invoice.type,
        payment_id=invoice.payment_id,
        customer_id=invoice.customer_id,
        original_invoice_id=invoice.original_invoice_id,
        total=money(invoice.total_minor),
        net=money(invoice.net_minor),
        vat=money(invoice.vat_minor),
        vat_percent=invoice.vat_percent,
        country=invoice.country,
        status=invoice.status,
        issued_at=invoice.issued_at,
        due_date=invoice.due_date,
        lines=[
            InvoiceLineOut(text=line["text"], amount=money(line["amount_minor"]))
            for line in invoice.lines
        ],
        references=invoice.refs,
    )


def _payment(row: dict[str, Any]) -> FinancePaymentOut:
    settled, currency = row["settled_amount_minor"], row["currency"]
    return FinancePaymentOut(
        payment_id=row["payment_id"],
        type=row["type"],
        amount=_money(row["amount_minor"], currency),
        customer_id=row["customer_id"],
        target=row["target"],
        state=row["state"],
        error_code=row["error_code"],
        gateway_tx_id=row["gateway_tx_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        settled_amount=None if settled is None else _money(settled, currency),
        settled_at=row["settled_at"],
        failure_reason=row["failure_reason"],
    )


def _money(minor: int, currency: str) -> MoneyOut:
    return MoneyOut.of(Money(minor, currency))
