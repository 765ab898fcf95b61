"""Driver errors as domain errors, so that no caller needs to know the driver."""

import struct
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg_pool import PoolTimeout

from core.errors import Conflict, DomainError, Invalid, Unavailable


class UniqueConflict(Conflict):
    """A unique index refused the row; ``constraint`` names it."""

    def __init__(self, constraint: str) -> None:
        super().__init__("DUPLICATE", f"already there ({constraint})")
        self.constraint = constraint


class DeadlockOrSerialization(Unavailable):
    """The transaction lost against another one and can be repeated as a whole."""


_CONTENT_ERRORS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    Invalid,
    UniqueConflict,
    ValueError,
    TypeError,
    OverflowError,
    struct.error,
)
_LIMIT_CLASS = "54"  # SQLSTATE: program limit exceeded, such as a text too long for an index


def is_content_error(error: Exception) -> bool:
    """Whether the written content is the cause, so that waiting and repeating will not help.

    Everything else (no connection, a full disk, a missing privilege) is the database's state.
    """
    if isinstance(error, Unavailable):
        return (getattr(error.__cause__, "sqlstate", None) or "").startswith(_LIMIT_CLASS)
    return isinstance(error, _CONTENT_ERRORS)


@contextmanager
def domain_errors() -> Generator[None]:
    """Translate what the driver raises inside the block."""
    try:
        yield
    except DomainError:
        raise
    except errors.UniqueViolation as error:
        raise UniqueConflict(error.diag.constraint_name or "?") from error
    except errors.CheckViolation as error:
        raise Invalid(
            "CHECK_VIOLATED", f"the database refuses it ({error.diag.constraint_name})"
        ) from error
    except psycopg.DataError as error:
        # The character NUL, a number or date beyond the column: legal in JSON, not in PostgreSQL.
        raise Invalid("INVALID_CONTENT", "the content cannot be stored") from error
    except (errors.DeadlockDetected, errors.SerializationFailure) as error:
        raise DeadlockOrSerialization("DATABASE_BUSY", str(error).strip()) from error
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise Unavailable("DATABASE_UNAVAILABLE", str(error).strip()) from error
