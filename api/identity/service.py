"""Logins, activation links and generated credentials (DOMAIN 2). Services never commit."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from api.identity import passwords, repository, tokens
from api.identity.principal import Principal
from api.identity.repository import User
from api.orders import ownership
from api.settings import ApiSettings
from core.contracts.states import Role
from core.db import Connection
from core.errors import Conflict, Forbidden, Invalid, Unauthenticated
from core.ids import new_id


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login gives."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_in: int
    role: Role


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the credentials e-mail says; shown once, stored only as hashes."""

    username: str
    password: str = field(repr=False)
    activation_url: str = field(repr=False)


async def check_password(user: User | None, password: str) -> User:
    """The account, if the password is right; one answer whether name or password is wrong."""
    right = await passwords.matches(user.password_hash if user else None, password)
    if user is None or not right:
        raise Unauthenticated("INVALID_CREDENTIALS", "user name or password is wrong")
    return user


async def principal_of(conn: Connection, user: User, now: datetime) -> Principal:
    """The account as a caller: user type, then purchase or employment (DOMAIN 2); Forbidden."""
    role = Role(user.role)
    if role is Role.CUSTOMER:
        assert user.customer_id is not None
        if not await ownership.has_purchase(conn, user.customer_id):
            raise Forbidden("NO_PURCHASE", "this account has no purchase")
    elif not _employed(user, now):
        raise Forbidden("NOT_EMPLOYED", "this account has no valid employment")
    return Principal(
        user_id=user.user_id,
        role=role,
        customer_id=user.customer_id,
        dealership_id=user.dealership_id,
        employee_id=user.employee_id,
    )


async def open_session(
    conn: Connection,
    settings: ApiSettings,
    principal: Principal,
    now: datetime,
    *,
    family_id: UUID | None = None,
) -> Tokens:
    """An access token and a fresh refresh token, of a new login or of ``family_id``."""
    refresh = tokens.new_secret()
    await repository.insert_refresh(
        conn,
        token_hash=tokens.digest(refresh),
        family_id=family_id or new_id(),
        user_id=principal.user_id,
        expires_at=now + timedelta(seconds=settings.refresh_token_s),
    )
    return Tokens(
        access=tokens.issue_access(settings, principal, now),
        refresh=refresh,
        expires_in=int(settings.access_token_s),
        role=principal.role,
    )


async def refresh(
    conn: Connection, settings: ApiSettings, refresh_token: str, now: datetime
) -> Tokens | None:
    """New tokens for a refresh token; None where it is unknown, over, or used before.

    A token used twice was stolen from one of two users: every token of that login ends.
    """
    token_hash = tokens.digest(refresh_token)
    used = await repository.use_refresh(conn, token_hash, now)
    if used is None:
        await repository.end_family_of(conn, token_hash)
        return None
    user = await repository.by_id(conn, used.user_id)
    assert user is not None
    principal = await principal_of(conn, user, now)
    return await open_session(conn, settings, principal, now, family_id=used.family_id)


async def create_customer_account(conn: Connection, *, customer_id: UUID, email: str) -> UUID:
    """The customer's account, its user name the e-mail address; no password until it is sent."""
    user_id = new_id()
    await repository.insert_user(
        conn, user_id=user_id, username=email, role=Role.CUSTOMER, customer_id=customer_id
    )
    return user_id


async def issue_credentials(
    conn: Connection, settings: ApiSettings, user_id: UUID, now: datetime
) -> Credentials:
    """Make a password and an activation link for the e-mail; Conflict once activated.

    Called where the mail is sent, so that neither is ever stored or logged in clear. Calling it
    again replaces both: only the last mail counts.
    """
    password, link_token = passwords.generate(), tokens.new_secret()
    username = await repository.store_credentials(
        conn,
        user_id,
        password_hash=await passwords.hash_password(password),
        activation_hash=tokens.digest(link_token),
        activation_until=now + timedelta(seconds=settings.activation_link_s),
        now=now,
    )
    if username is None:
        raise Conflict("ALREADY_ACTIVATED", "the account is activated already")
    base = settings.public_url.rstrip("/")
    return Credentials(username, password, f"{base}/activate?token={link_token}")


async def user_of_customer(conn: Connection, customer_id: UUID) -> UUID | None:
    """The customer's account."""
    return await repository.of_customer(conn, customer_id)


async def activate(
    conn: Connection, *, token: str, new_password: str | None, now: datetime
) -> UUID:
    """Use up an activation link, setting the password where one is given; Invalid if it is over."""
    user_id = await repository.activate(
        conn,
        activation_hash=tokens.digest(token),
        password_hash=None if new_password is None else await passwords.hash_password(new_password),
        now=now,
    )
    if user_id is None:
        raise Invalid("ACTIVATION_INVALID", "the link is not valid or has expired")
    return user_id


def _employed(user: User, now: datetime) -> bool:
    if user.valid_from is None or user.valid_from > now:
        return False
    return user.valid_until is None or user.valid_until > now
