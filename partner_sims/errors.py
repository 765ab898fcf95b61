"""A partner's refusal: a domain error that knows the HTTP status of the partner's contract."""

from collections.abc import Mapping
from typing import Any

from core.errors import DomainError


class PartnerError(DomainError):
    """What a partner answers when it does not do what was asked: ``{error_code, message, …}``."""

    def __init__(
        self, status: int, code: str, message: str, *, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(code, message, details=details)
        self.status = status

    @property
    def body(self) -> dict[str, Any]:
        """The answer. ``reason`` repeats the message: the gateway's contract names it so."""
        return {
            "error_code": self.code,
            "message": self.message,
            "reason": self.message,
            **self.details,
        }
