"""The one table from error to HTTP status (DOMAIN 16)."""

from core.errors import (
    Conflict,
    Declined,
    DomainError,
    Forbidden,
    Invalid,
    NotFound,
    TooMany,
    Unauthenticated,
    Unavailable,
)

_STATUS: tuple[tuple[type[DomainError], int], ...] = (
    (Invalid, 422),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Declined, 402),
    (TooMany, 429),
    (Unavailable, 503),
)


def status_of(error: DomainError) -> int:
    """The HTTP status of a domain error; one without a place in the table is our fault: 500."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
