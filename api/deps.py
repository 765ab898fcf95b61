"""What every route and job handler may use, and how a route gets it."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from api.partners.clients import Partners
from api.settings import Settings
from core.clock import Clock
from core.db import Database
from core.errors import Invalid


@dataclass(frozen=True, slots=True)
class ApiDeps:
    """The API's surroundings, built once where a service starts."""

    database: Database
    clock: Clock
    settings: Settings
    partners: Partners


def get_deps(request: Request) -> ApiDeps:
    """The surroundings the application was made with."""
    deps = request.app.state.deps
    assert isinstance(deps, ApiDeps)
    return deps


Deps = Annotated[ApiDeps, Depends(get_deps)]


def idempotency_key(
    idempotency_key: Annotated[str | None, Header(min_length=8, max_length=200)] = None,
) -> str:
    """The ``Idempotency-Key`` that buying and paying need (DOMAIN 16)."""
    if idempotency_key is None:
        raise Invalid("IDEMPOTENCY_KEY_MISSING", "this call needs an Idempotency-Key header")
    return idempotency_key


IdempotencyKey = Annotated[str, Depends(idempotency_key)]
# For calls that are safe to repeat with one, and do not insist on it.
OptionalIdempotencyKey = Annotated[
    str | None, Header(alias="Idempotency-Key", min_length=8, max_length=200)
]
