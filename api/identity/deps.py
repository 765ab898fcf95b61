"""FastAPI dependencies that say who calls, and refuse those who may not."""

from collections.abc import Callable
from typing import Annotated

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.deps import Deps
from api.identity.principal import Principal
from api.identity.tokens import read_access
from core.contracts.states import Role
from core.errors import Forbidden, Unauthenticated

__all__ = ["CurrentPrincipal", "Principal", "current_principal", "require"]

_BEARER = HTTPBearer(auto_error=False, bearerFormat="JWT")


def current_principal(
    request: Request,
    deps: Deps,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> Principal:
    """The caller; Unauthenticated (401) without a good access token."""
    if bearer is None:
        raise Unauthenticated("TOKEN_MISSING", "this call needs an access token")
    principal = read_access(deps.settings.api, bearer.credentials, deps.clock.now())
    request.state.user_id = str(principal.user_id)
    structlog.contextvars.bind_contextvars(userId=str(principal.user_id))
    return principal


CurrentPrincipal = Annotated[Principal, Depends(current_principal)]


def require(*roles: Role) -> Callable[[Principal], Principal]:
    """A dependency: the caller, if one of ``roles``; Forbidden (403) otherwise.

    ``principal: Annotated[Principal, Depends(require(Role.SALES))]``
    """

    def check(principal: CurrentPrincipal) -> Principal:
        if principal.role not in roles:
            raise Forbidden("ROLE_FORBIDDEN", "your role may not do this")
        return principal

    return check


CustomerCaller = Annotated[Principal, Depends(require(Role.CUSTOMER))]
SalesCaller = Annotated[Principal, Depends(require(Role.SALES))]
AdminCaller = Annotated[Principal, Depends(require(Role.ADMIN))]
SupportCaller = Annotated[Principal, Depends(require(Role.SUPPORT))]
FinanceCaller = Annotated[Principal, Depends(require(Role.FINANCE, Role.ADMIN))]
