"""Migrate, give the rooms' roles their logins, and seed what every platform starts with."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from psycopg import errors, sql

from caas.paths import resource
from caas.settings import LoginSettings
from core.db import Connection
from core.db.migrate import migrate, pending
from core.db.pool import connect
from core.errors import Conflict
from core.settings import DatabaseSettings, load


async def migrate_database(settings: DatabaseSettings | None = None) -> list[str]:
    """Run the missing migrations as the DSN's user (the owner) and set the logins; their names."""
    dsn = (settings or load(DatabaseSettings)).dsn.get_secret_value()
    ran = await migrate(dsn, resource("migrations"))
    await _set_logins(dsn, load(LoginSettings))
    return ran


async def pending_migrations(settings: DatabaseSettings) -> list[str]:
    """Names of the migrations that have not run."""
    return await pending(settings.dsn.get_secret_value(), resource("migrations"))


@asynccontextmanager
async def one_transaction(role: str) -> AsyncGenerator[Connection]:
    """One transaction on a connection of its own, which fails at once where a pool would wait."""
    settings = load(DatabaseSettings)
    raw = await connect(settings.dsn.get_secret_value(), role=role if settings.set_role else None)
    try:
        async with raw.transaction():
            yield Connection(raw)
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        raise Conflict("NO_SCHEMA", "the database is empty or behind: run `caas migrate`") from None
    finally:
        await raw.close()


async def _set_logins(dsn: str, logins: LoginSettings) -> None:
    passwords = logins.by_role()
    if not passwords:
        return
    conn = await connect(dsn)
    try:
        for role, password in passwords.items():
            await conn.execute(
                sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(password.get_secret_value())
                )
            )
    finally:
        await conn.close()
