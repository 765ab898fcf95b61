"""The gateway's request bodies (DOMAIN 11); amounts are whole minor units (cents)."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, StringConstraints

Key = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class TransactionIn(BaseModel):
    """A charge (``capture`` true) or a hold (false)."""

    type: Literal["RESERVATION", "FINAL", "SERVICE", "SUBSCRIPTION"]
    amount_minor: int = Field(gt=0, le=100_000_000)
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "EUR"
    payment_token: Key
    capture: bool = True
    idempotency_key: Key
    reference: str = Field("", max_length=200)


class RefundIn(BaseModel):
    """Money back; without a key each call is a refund of its own."""

    originalTransactionId: str  # noqa: N815 - the contract's spelling
    amount_minor: int = Field(gt=0)
    idempotency_key: Key | None = None


class CardIn(BaseModel):
    """The hosted form's fields: seen here, stored nowhere but for brand and last four."""

    pan: SecretStr
    exp: str
    cvv: SecretStr
