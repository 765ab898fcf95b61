"""Jobs that billing gives itself and other nouns; all run in the worker."""

from typing import Any
from uuid import UUID

from core.contracts.jobs import Job
from core.contracts.states import PaymentState


class CheckPayment(Job, frozen=True):
    """Find out what became of a payment that is still PROCESSING, and finish it."""

    queue = "api"
    name = "check_payment"

    payment_id: UUID

    def lock(self) -> str:
        return f"payment:{self.payment_id}"


class RefundPayment(Job, frozen=True):
    """Order money back that was taken: a granted withdrawal, or a sale our side cannot fulfil."""

    queue = "api"
    name = "refund_payment"

    payment_id: UUID
    reason: str

    def lock(self) -> str:
        return f"payment:{self.payment_id}"


class PaymentConcluded(Job, frozen=True):
    """A vehicle payment's fate is known: CONFIRMED or FAILED. The order follows; idempotent.

    Deferred with the fact itself, so an order goes on even if whoever asked for the payment died.
    """

    queue = "api"
    name = "payment_concluded"

    payment_id: UUID
    type: str
    target: UUID
    state: PaymentState
    error_code: str | None = None

    def lock(self) -> str:
        return f"order:{self.target}"


class PaymentWebhook(Job, frozen=True):
    """A notice of the gateway that was signed well and is in the inbox: act on it."""

    queue = "api"
    name = "payment_webhook"

    kind: str  # settlement | refund
    message_id: str
    body: dict[str, Any]
