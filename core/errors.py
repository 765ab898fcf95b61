"""The one error tree: what went wrong in the domain's words, mapped to HTTP only at the edge."""

from collections.abc import Mapping
from typing import Any


class DomainError(Exception):
    """A refusal or failure with a stable ``code`` (DOMAIN 16) and a message fit for its reader."""

    def __init__(
        self, code: str, message: str, *, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details: Mapping[str, Any] = details or {}

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class NotFound(DomainError):
    """The thing does not exist, or is not the caller's to see."""


class Forbidden(DomainError):
    """The caller is known and may not do this."""


class Unauthenticated(DomainError):
    """The caller is not known: no, wrong or expired credentials."""


class Invalid(DomainError):
    """The request is readable but breaks a rule of its content."""


class Conflict(DomainError):
    """The request does not fit the present state."""


class Unavailable(DomainError):
    """A part this needs (database, broker, partner) does not answer; trying again may help."""


class Declined(DomainError):
    """A partner said a definitive no: a payment is refused."""


class TooMany(DomainError):
    """A rate limit is used up; ``retry_after_s`` says when it opens again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__("RATE_LIMITED", message, details={"retryAfterSeconds": retry_after_s})
        self.retry_after_s = retry_after_s


class IllegalTransition(Conflict):
    """A state machine was asked for a transition its table does not list."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        super().__init__(
            "ILLEGAL_TRANSITION",
            f"{machine} in state {state} does not take {event}",
            details={"machine": machine, "state": state, "event": event},
        )


class SettingsError(DomainError):
    """A setting is unknown or unusable; the service must not start with it."""

    def __init__(self, message: str) -> None:
        super().__init__("BAD_SETTING", message)
