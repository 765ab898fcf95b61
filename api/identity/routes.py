"""POST /auth/login, /auth/refresh, /auth/activate."""

from fastapi import APIRouter, Request

from api import limits
from api.deps import ApiDeps, Deps
from api.identity import repository, service
from api.identity.schemas import ActivatedOut, ActivateIn, LoginIn, RefreshIn, TokensOut
from api.identity.service import Tokens
from core.errors import Unauthenticated

router = APIRouter(prefix="/auth", tags=["identity"])


@router.post("/login")
async def login(body: LoginIn, request: Request, deps: Deps) -> TokensOut:
    """Access and refresh token for a user name and password."""
    await _limit(deps, request, body.username)
    now = deps.clock.now()
    async with deps.database.transaction() as conn:
        user = await repository.by_username(conn, body.username)
    # Outside the transaction: checking a password takes a while.
    user = await service.check_password(user, body.password.get_secret_value())
    async with deps.database.transaction() as conn:
        principal = await service.principal_of(conn, user, now)
        tokens = await service.open_session(conn, deps.settings.api, principal, now)
    return _out(tokens)


@router.post("/refresh")
async def refresh(body: RefreshIn, request: Request, deps: Deps) -> TokensOut:
    """New tokens for a refresh token, which is used up by this."""
    await _limit(deps, request, None)
    async with deps.database.transaction() as conn:
        tokens = await service.refresh(
            conn, deps.settings.api, body.refresh_token, deps.clock.now()
        )
    if tokens is None:  # After the commit: a stolen token's family stays ended.
        raise Unauthenticated("REFRESH_INVALID", "the refresh token is not valid any more")
    return _out(tokens)


@router.post("/activate")
async def activate(body: ActivateIn, request: Request, deps: Deps) -> ActivatedOut:
    """Use up an activation link; sets the password where one is given."""
    await _limit(deps, request, None)
    async with deps.database.transaction() as conn:
        await service.activate(
            conn,
            token=body.token,
            new_password=body.new_password.get_secret_value() if body.new_password else None,
            now=deps.clock.now(),
        )
    return ActivatedOut()


async def _limit(deps: ApiDeps, request: Request, username: str | None) -> None:
    """Count the try by caller's address and by user name; TooMany above the limits."""
    settings, now = deps.settings.api, deps.clock.now()
    address = request.client.host if request.client else "unknown"
    async with deps.database.transaction() as conn:
        # Before raising, so that both counts are kept.
        over = await limits.count(conn, f"login-ip:{address}", now) > settings.login_rate_ip
        if username is not None:
            hits = await limits.count(conn, f"login-user:{username.lower()}", now)
            over = over or hits > settings.login_rate_user
    if over:
        raise limits.too_many(now)


def _out(tokens: Tokens) -> TokensOut:
    return TokensOut(
        access_token=tokens.access,
        refresh_token=tokens.refresh,
        expires_in=tokens.expires_in,
        role=tokens.role,
    )
