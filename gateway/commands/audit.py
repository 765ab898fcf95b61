"""Proves that nobody changed, removed or slipped in a command, reading the log as a stream."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncServerCursor
from psycopg.rows import TupleRow

from core.clock import Clock
from core.db import Connection, load_queries
from core.errors import DomainError
from gateway.commands.chain import (
    Checkpoint,
    Head,
    LoggedCommand,
    hash_of_checkpoint,
    hash_of_command,
)

QUERIES = load_queries("gateway.commands")
_FETCH = 1000


@dataclass(frozen=True, slots=True)
class Unbroken:
    """What was verified; ``last`` is the newest checkpoint (number and hash), null where none."""

    commands: int
    vehicles: int
    checkpoints: int
    last: tuple[int, str] | None


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """A command as the log has it, with the vehicle's last answer."""

    command_id: UUID
    vin: str
    seq: int
    kind: str
    source: str
    service: str | None
    admitted_at: datetime
    last_result: str | None
    last_reason: str | None
    answered_at: datetime | None
    hash: str


@dataclass(frozen=True, slots=True)
class LastCheckpoint:
    checkpoint_id: int
    at: datetime
    vehicles: int
    hash: str


@dataclass(frozen=True, slots=True)
class _Place:
    vin: str
    seq: int


class Broken(DomainError):
    """The log is not what it was; the message names the first place."""

    def __init__(self, message: str) -> None:
        super().__init__("AUDIT_BROKEN", message)


async def verify(
    conn: Connection,
    *,
    vin: str | None = None,
    expect: tuple[int, str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Unbroken:
    """Recompute every hash; Broken at the first place that does not fit.

    ``vin`` limits the commands to one vehicle; checkpoints are verified all the same. ``expect``
    is a checkpoint (number, hash in hex) noted down elsewhere: only that finds a log whose end
    was cut off together with its checkpoints. ``on_progress``: commands verified, and of how many.
    """
    await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    commands, vehicles = await _verify_commands(conn, vin, on_progress)
    await _none(conn, "wrong_end", vin, "the log ends elsewhere than the registry remembers")
    await _none(conn, "lost_head", vin, "a checkpoint saw a command that is gone")
    checkpoints, last = await _verify_checkpoints(conn, expect)
    if expect is not None and (last is None or last[0] < expect[0]):
        raise Broken(f"checkpoint {expect[0]}, which is expected, is gone")
    return Unbroken(commands, vehicles, checkpoints, last)


async def checkpoint(conn: Connection, clock: Clock) -> int | None:
    """A checkpoint over what was admitted since the last one; its number, None = nothing new."""
    return await conn.value(QUERIES["checkpoint"], {"now": clock.now()})


async def last_checkpoint(conn: Connection) -> LastCheckpoint | None:
    """The newest checkpoint, to be noted down outside of the database."""
    return await conn.one_or_none(LastCheckpoint, QUERIES["last_checkpoint"])


async def list_commands(
    conn: Connection,
    *,
    limit: int = 100,
    vin: str | None = None,
    source: str | None = None,
    since: datetime | None = None,
) -> list[CommandEntry]:
    """The newest commands first."""
    params = {"limit": limit, "vin": vin, "source": source, "since": since}
    return await conn.all(CommandEntry, QUERIES["commands"], params)


async def _verify_commands(
    conn: Connection, vin: str | None, on_progress: Callable[[int, int], None] | None
) -> tuple[int, int]:
    total = int(await conn.value(QUERIES["chain_length"], {"vin": vin}))
    commands = vehicles = 0
    before: LoggedCommand | None = None
    async with _rows(conn, "chain", {"vin": vin}) as rows:
        async for values in rows:
            row = LoggedCommand(*values)
            if before is None or before.vin != row.vin:
                before = None
                vehicles += 1
            _check(row, before)
            before = row
            commands += 1
            if on_progress is not None and commands % _FETCH == 0:
                on_progress(commands, total)
    return commands, vehicles


def _check(row: LoggedCommand, before: LoggedCommand | None) -> None:
    expected = 1 if before is None else before.seq + 1
    if row.seq != expected:
        raise Broken(f"{row.vin}: command {expected} is missing, {row.seq} comes next")
    if row.previous_hash != (None if before is None else before.hash):
        raise Broken(f"{row.vin}: command {row.seq} does not follow the one before it")
    if hash_of_command(row) != row.hash:
        raise Broken(f"{row.vin}: command {row.seq} ({row.command_id}) was changed")


async def _verify_checkpoints(
    conn: Connection, expect: tuple[int, str] | None
) -> tuple[int, tuple[int, str] | None]:
    before: Checkpoint | None = None
    async with _rows(conn, "heads", {}) as heads, _rows(conn, "checkpoints", {}) as rows:
        head = await _next_head(heads)
        async for values in rows:
            row = Checkpoint(*values)
            expected = 1 if before is None else before.checkpoint_id + 1
            if row.checkpoint_id != expected:
                raise Broken(f"checkpoint {expected} is missing")
            own: list[Head] = []
            while head is not None and head.checkpoint_id == row.checkpoint_id:
                own.append(head)
                head = await _next_head(heads)
            fits = row.previous_hash == (None if before is None else before.hash)
            if not fits or len(own) != row.vehicles or hash_of_checkpoint(row, own) != row.hash:
                raise Broken(f"checkpoint {row.checkpoint_id} was changed")
            if (
                expect is not None
                and expect[0] == row.checkpoint_id
                and row.hash.hex() != expect[1]
            ):
                raise Broken(f"checkpoint {row.checkpoint_id} is not the expected one")
            before = row
    if before is None:
        return 0, None
    return before.checkpoint_id, (before.checkpoint_id, before.hash.hex())


async def _next_head(heads: AsyncServerCursor[TupleRow]) -> Head | None:
    values = await heads.fetchone()
    return None if values is None else Head(*values)


async def _none(conn: Connection, query: LiteralString, vin: str | None, what: str) -> None:
    place = await conn.one_or_none(_Place, QUERIES[query], {"vin": vin})
    if place is not None:
        raise Broken(f"{place.vin}: {what} (command {place.seq})")


@asynccontextmanager
async def _rows(
    conn: Connection, query: LiteralString, params: dict[str, Any]
) -> AsyncGenerator[AsyncServerCursor[TupleRow]]:
    async with conn.raw.cursor(name=f"audit_{query}") as cursor:
        cursor.itersize = _FETCH
        await cursor.execute(QUERIES[query], params)
        yield cursor
