"""Forward-only migrations: numbered SQL files, each once, in one transaction of its own."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, cast

from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection, errors
from psycopg.rows import TupleRow

from core.db.pool import connect
from core.errors import DomainError

_LOCK = 0xCAA5  # one migration at a time, whoever starts it


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name is its identity, its digest guards it against later edits."""

    name: str
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


class MigrationError(DomainError):
    """A migration failed, or was edited after it had run."""

    def __init__(self, message: str) -> None:
        super().__init__("MIGRATION_FAILED", message)


def read_migrations(directory: Path) -> list[Migration]:
    """Every ``NNNN_name.sql`` of the directory, in order."""
    return [
        Migration(path.name, path.read_text(encoding="utf-8"))
        for path in sorted(directory.glob("[0-9]*.sql"))
    ]


async def pending(dsn: str, directory: Path) -> list[str]:
    """Names of the migrations that have not run."""
    conn = await connect(dsn)
    try:
        done = await _done(conn)
        return [m.name for m in read_migrations(directory) if m.name not in done]
    finally:
        await conn.close()


async def migrate(dsn: str, directory: Path) -> list[str]:
    """Run what has not run yet; the names of what ran. The DSN's user must own the database."""
    conn = await connect(dsn)
    try:
        await conn.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        await _prepare(conn)
        done = await _done(conn)
        ran: list[str] = []
        for migration in read_migrations(directory):
            known = done.get(migration.name)
            if known is None:
                await _run(conn, migration)
                ran.append(migration.name)
            elif known != migration.digest:
                raise MigrationError(
                    f"{migration.name} was changed after it ran: write a new migration instead"
                )
        return ran
    finally:
        await conn.close()


async def _prepare(conn: AsyncConnection[TupleRow]) -> None:
    async with conn.transaction():
        await conn.execute("CREATE SCHEMA IF NOT EXISTS migrations")
        await conn.execute(
            "CREATE TABLE IF NOT EXISTS migrations.done ("
            " name text PRIMARY KEY, digest text NOT NULL, at timestamptz NOT NULL DEFAULT now())"
        )
        await conn.execute("CREATE SCHEMA IF NOT EXISTS jobs")
        cursor = await conn.execute("SELECT to_regclass('jobs.procrastinate_jobs') IS NULL")
        row = await cursor.fetchone()
        if row is not None and row[0]:
            # The file ships with procrastinate and has no parameters.
            await conn.execute(SchemaManager.get_schema())


async def _done(conn: AsyncConnection[TupleRow]) -> dict[str, str]:
    try:
        cursor = await conn.execute("SELECT name, digest FROM migrations.done")
    except errors.UndefinedTable:
        return {}
    return {name: digest async for name, digest in cursor}


async def _run(conn: AsyncConnection[TupleRow], migration: Migration) -> None:
    try:
        async with conn.transaction():
            await conn.execute(cast("LiteralString", migration.sql))
            await conn.execute(
                "INSERT INTO migrations.done (name, digest) VALUES (%s, %s)",
                (migration.name, migration.digest),
            )
    except errors.Error as error:
        raise MigrationError(f"{migration.name}: {str(error).strip()}") from error
