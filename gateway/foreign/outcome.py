"""How a call of a foreign API ended: a reply, or being down."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

import core.log

log = core.log.get(__name__)

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API said; ``retry_after`` is the header as it came."""

    status: int
    body: dict[str, Any] = field(default_factory=dict[str, Any])
    retry_after: str | None = None

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def code(self) -> str | None:
        """The error's code (DOMAIN 16), where it has one."""
        error = self.body.get("error")
        # OAuth2's own refusals have the code alone (RFC 6749, 5.2).
        code = error if isinstance(error, str) else self.error.get("code")
        return code if isinstance(code, str) else None

    @property
    def error(self) -> dict[str, object]:
        """The error's members; none where there is no error of the one shape."""
        error = self.body.get("error")
        return cast("dict[str, object]", error) if isinstance(error, dict) else {}

    def read(self, model: type[M]) -> M | None:
        """The body as ``model``; None where it is an error, or nothing of the contract."""
        if not self.ok:
            return None
        try:
            return model.model_validate(self.body)
        except ValidationError as error:
            log.warning("a foreign API's answer is not of the contract", error=str(error)[:300])
            return None


@dataclass(frozen=True, slots=True)
class Down:
    """No usable answer. ``retry_at``: the breaker is open until then; None = try when you like."""

    why: str
    retry_at: datetime | None = None


Outcome = Reply | Down
