"""Errors the API adds to the tree, and the one table from error to HTTP status (DOMAIN 16)."""

from core.errors import (
    Conflict,
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)


class PaymentDeclined(DomainError):
    """The payment gateway said a definitive no."""


class TooMany(DomainError):
    """A rate limit is used up; ``retry_after_s`` says when it opens again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__("RATE_LIMITED", message, details={"retryAfterSeconds": retry_after_s})
        self.retry_after_s = retry_after_s


_STATUS: tuple[tuple[type[DomainError], int], ...] = (
    (Invalid, 422),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (PaymentDeclined, 402),
    (TooMany, 429),
    (Unavailable, 503),
)


def status_of(error: DomainError) -> int:
    """The HTTP status of a domain error; one without a place in the table is our fault: 500."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
