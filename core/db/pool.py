"""The connection pool and the transaction: one owner opens it, all inside commits or nothing."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow, class_row, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from core.db.errors import domain_errors
from core.errors import SettingsError, Unavailable
from core.settings import DatabaseSettings

R = TypeVar("R")
Params = Mapping[str, Any] | None
# procrastinate's own functions name its tables without a schema.
_OPTIONS = "-c search_path=jobs -c timezone=UTC"

_CLOSE_S = 1.0


class Connection:
    """A database connection inside one transaction, with the few calls repositories need."""

    def __init__(self, raw: AsyncConnection[TupleRow]) -> None:
        self.raw = raw

    async def execute(self, query: LiteralString, params: Params = None) -> int:
        """Run a statement; the number of rows it touched."""
        with domain_errors():
            cursor = await self.raw.execute(query, params)
        return cursor.rowcount

    async def execute_many(self, query: LiteralString, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement once a row, pipelined."""
        with domain_errors():
            async with self.raw.cursor() as cursor:
                await cursor.executemany(query, rows)

    async def all(self, row: type[R], query: LiteralString, params: Params = None) -> list[R]:
        """Every row as ``row``, a dataclass with the columns' names."""
        with domain_errors():
            async with self.raw.cursor(row_factory=class_row(row)) as cursor:
                await cursor.execute(query, params)
                return await cursor.fetchall()

    async def one_or_none(
        self, row: type[R], query: LiteralString, params: Params = None
    ) -> R | None:
        """The first row as ``row``, or None."""
        with domain_errors():
            async with self.raw.cursor(row_factory=class_row(row)) as cursor:
                await cursor.execute(query, params)
                return await cursor.fetchone()

    async def value(self, query: LiteralString, params: Params = None) -> Any:
        """The first column of the first row, or None."""
        with domain_errors():
            cursor = await self.raw.execute(query, params)
            row = await cursor.fetchone()
        return None if row is None else row[0]

    async def dicts(self, query: LiteralString, params: Params = None) -> list[dict[str, Any]]:
        """Every row as a dict, for what is only handed on (reports, pages)."""
        with domain_errors():
            async with self.raw.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(query, params)
                return await cursor.fetchall()

    def cursor(self) -> AsyncCursor[TupleRow]:
        """The driver's cursor, for COPY."""
        return self.raw.cursor()


class Database:
    """A pool of connections that act as one room's role."""

    def __init__(self, settings: DatabaseSettings, *, role: str, service: str = "caas") -> None:
        options = f"{_OPTIONS} -c role={role}" if settings.set_role else _OPTIONS
        self.dsn = settings.dsn.get_secret_value()
        self._timeout_s = settings.connect_timeout_s
        self._pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
            self.dsn,
            min_size=settings.pool_min,
            max_size=settings.pool_max,
            timeout=settings.connect_timeout_s,
            kwargs={
                "options": options,
                "application_name": service,
                # Else a server that takes the line and says nothing holds up the pool for 130 s.
                "connect_timeout": max(2, round(settings.connect_timeout_s)),
            },
            check=AsyncConnectionPool.check_connection,
            open=False,
        )

    async def open(self) -> None:
        """Open the pool; Unavailable when no connection stands within the time limit."""
        try:
            await self._pool.open(wait=True, timeout=self._timeout_s)
        except PoolTimeout as error:
            await self.close()
            raise Unavailable("DATABASE_UNAVAILABLE", f"no database connection: {error}") from None

    async def close(self) -> None:
        """Close the pool; a connection that is still being made is not waited for."""
        await self._pool.close(_CLOSE_S)

    @property
    def pool(self) -> AsyncConnectionPool[AsyncConnection[TupleRow]]:
        return self._pool

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """One transaction: commits at the end of the block, rolls back on an exception."""
        with domain_errors():
            async with self._pool.connection() as raw, raw.transaction():
                yield Connection(raw)

    async def ping(self) -> None:
        """Unavailable where the database does not answer."""
        async with self.transaction() as conn:
            await conn.value("SELECT 1")


async def connect(dsn: str, *, role: str | None = None) -> AsyncConnection[TupleRow]:
    """One plain connection in autocommit mode, for migrations, listeners and the command line.

    Unavailable where there is no database; SettingsError where ``dsn`` cannot be read.
    """
    options = _OPTIONS if role is None else f"{_OPTIONS} -c role={role}"
    try:
        return await psycopg.AsyncConnection.connect(dsn, autocommit=True, options=options)
    except psycopg.OperationalError as error:
        raise Unavailable("DATABASE_UNAVAILABLE", str(error).strip()) from None
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"CAAS_DB_DSN is no connection string: {str(error).strip()}") from None
