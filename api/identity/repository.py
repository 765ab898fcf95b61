"""Accounts and refresh tokens in the database."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.contracts.states import Role
from core.db import Connection, load_queries

_SQL = load_queries("api.identity")


@dataclass(frozen=True, slots=True)
class User:
    """An account with what its employment says; customers have none."""

    user_id: UUID
    username: str
    role: str
    customer_id: UUID | None
    employee_id: UUID | None
    password_hash: str | None
    dealership_id: UUID | None
    valid_from: datetime | None
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class UsedRefresh:
    """A refresh token that has just been used up."""

    family_id: UUID
    user_id: UUID


async def by_username(conn: Connection, username: str) -> User | None:
    return await conn.one_or_none(User, _SQL["user_by_username"], {"username": username.lower()})


async def by_id(conn: Connection, user_id: UUID) -> User | None:
    return await conn.one_or_none(User, _SQL["user_by_id"], {"user_id": user_id})


async def of_customer(conn: Connection, customer_id: UUID) -> UUID | None:
    return await conn.value(_SQL["user_of_customer"], {"customer_id": customer_id})


async def insert_user(
    conn: Connection,
    *,
    user_id: UUID,
    username: str,
    role: Role,
    customer_id: UUID | None = None,
    employee_id: UUID | None = None,
    password_hash: str | None = None,
    activated_at: datetime | None = None,
) -> None:
    await conn.execute(
        _SQL["insert_user"],
        {
            "user_id": user_id,
            "username": username.lower(),
            "role": role.value,
            "customer_id": customer_id,
            "employee_id": employee_id,
            "password_hash": password_hash,
            "activated_at": activated_at,
        },
    )


async def store_credentials(
    conn: Connection,
    user_id: UUID,
    *,
    password_hash: str,
    activation_hash: str,
    activation_until: datetime,
    now: datetime,
) -> str | None:
    """The user name; None where the account is activated already (or is not there)."""
    return await conn.value(
        _SQL["store_credentials"],
        {
            "user_id": user_id,
            "password_hash": password_hash,
            "activation_hash": activation_hash,
            "activation_until": activation_until,
            "now": now,
        },
    )


async def activate(
    conn: Connection, *, activation_hash: str, password_hash: str | None, now: datetime
) -> UUID | None:
    return await conn.value(
        _SQL["activate"],
        {"activation_hash": activation_hash, "password_hash": password_hash, "now": now},
    )


async def insert_refresh(
    conn: Connection, *, token_hash: str, family_id: UUID, user_id: UUID, expires_at: datetime
) -> None:
    await conn.execute(
        _SQL["insert_refresh"],
        {
            "token_hash": token_hash,
            "family_id": family_id,
            "user_id": user_id,
            "expires_at": expires_at,
        },
    )


async def use_refresh(conn: Connection, token_hash: str, now: datetime) -> UsedRefresh | None:
    return await conn.one_or_none(
        UsedRefresh, _SQL["use_refresh"], {"token_hash": token_hash, "now": now}
    )


async def end_family_of(conn: Connection, token_hash: str) -> int:
    """End every token that came of the same login, where this one had been used already."""
    return await conn.execute(_SQL["end_family_of"], {"token_hash": token_hash})


async def forget_refresh(conn: Connection, now: datetime) -> None:
    await conn.execute(_SQL["forget_refresh"], {"now": now})
