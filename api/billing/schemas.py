"""Bodies of the billing routes."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from api.identity.schemas import CamelModel
from core.money import Money


class MoneyOut(CamelModel):
    """An amount in major units, as a decimal string."""

    amount: str
    currency: str

    @classmethod
    def of(cls, money: Money) -> "MoneyOut":
        return cls(amount=str(money.major), currency=money.currency)


class InvoiceLineOut(CamelModel):
    text: str
    amount: MoneyOut


class InvoiceOut(CamelModel):
    """An invoice, or a credit note with negative amounts; tax is included in ``total``."""

    invoice_id: UUID
    number: str
    type: str
    payment_id: UUID
    customer_id: UUID
    original_invoice_id: UUID | None
    total: MoneyOut
    net: MoneyOut
    vat: MoneyOut
    vat_percent: Decimal
    country: str
    status: str
    issued_at: datetime
    due_date: date
    lines: list[InvoiceLineOut]
    references: dict[str, Any]


class InvoicesOut(CamelModel):
    invoices: list[InvoiceOut]


class PaymentSumOut(CamelModel):
    state: str
    payments: int
    amount: MoneyOut


class FinancePaymentOut(CamelModel):
    payment_id: UUID
    type: str
    amount: MoneyOut
    customer_id: UUID
    target: UUID
    state: str
    error_code: str | None
    gateway_tx_id: str | None
    created_at: datetime
    updated_at: datetime
    settled_amount: MoneyOut | None
    settled_at: datetime | None
    failure_reason: str | None


class FinancePaymentsOut(CamelModel):
    sums: list[PaymentSumOut]
    payments: list[FinancePaymentOut]
