"""The gateway's rows."""

from dataclasses import dataclass

from partner_sims.payments.rules import Status


@dataclass(frozen=True, slots=True)
class Card:
    """What is kept of a card."""

    payment_token: str
    brand: str
    last4: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """A charge or hold, as answered to its idempotency key."""

    transaction_id: str
    idempotency_key: str
    request_hash: str
    type: str
    amount_minor: int
    currency: str
    payment_token: str
    capture: int
    reference: str
    status: str
    error_code: str | None
    reason: str | None
    created_at: str

    @property
    def state(self) -> Status:
        return Status(self.status)


@dataclass(frozen=True, slots=True)
class Movement:
    """One line of the ledger."""

    movement_id: str
    transaction_id: str
    kind: str
    amount_minor: int
    currency: str
    reference: str
    at: str


@dataclass(frozen=True, slots=True)
class Refund:
    """Money on its way back."""

    refund_id: str
    transaction_id: str
    idempotency_key: str | None
    amount_minor: int
    status: str
    created_at: str
    completed_at: str | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """The body of a settlement notice."""

    body: str
