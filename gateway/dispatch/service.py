"""A command's life in the database: admitted, stored, ended; the edge owns the transaction."""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from core.contracts.bus import (
    Answer,
    Command,
    CommandKind,
    ParameterSetting,
    ReportedConfig,
    Result,
)
from core.contracts.commands import COMMAND, CommandEvent, content_of
from core.contracts.states import CommandState
from core.contracts.values import shows
from core.db import Connection, load_queries
from core.errors import Conflict, NotFound, TooMany
from core.ids import new_id

QUERIES = load_queries("gateway.dispatch")
TIMEOUT = "TIMEOUT"
# Who asks a vehicle how a command stands: nobody outside.
SOURCE = "gateway"


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that is over; ``state`` is COMPLETED or FAILED."""

    command_id: UUID
    vin: str
    state: str
    error_code: str | None
    completed_at: datetime


# Told of commands that ended, inside the transaction that ended them.
OnEnd = Callable[[Connection, Sequence[Ended]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Admission:
    outcome: str
    seq: int | None
    retry_after_s: int | None


@dataclass(frozen=True, slots=True)
class _Open:
    command_id: UUID
    seq: int
    kind: str
    wanted: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Unanswered:
    vin: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class _Id:
    command_id: UUID


async def enqueue(
    conn: Connection, draft: Command, *, source: str, quota: int, complete_s: float
) -> Command:
    """Admit ``draft`` (its ``seq`` is replaced by the vehicle's next) and have it published.

    NotFound: the registry does not know the vehicle. TooMany: its quota is used up (DOMAIN 7).
    Conflict: a configuration of this door is still in flight. ``complete_s``: how long from
    ``issued_at`` until it counts as FAILED (TIMEOUT).
    """
    await _check_none_in_flight(conn, draft)
    admission = await conn.one_or_none(
        _Admission,
        QUERIES["admit"],
        {
            "command_id": draft.command_id,
            "vin": draft.vin,
            "kind": draft.kind.value,
            "source": source,
            "service": draft.service,
            "content": Jsonb(content_of(draft)),
            "now": draft.issued_at,
            "quota": quota,
        },
    )
    assert admission is not None
    if admission.outcome == "RATE_LIMITED":
        raise TooMany("the vehicle's quota is used up", admission.retry_after_s or 1)
    if admission.seq is None:
        raise NotFound("UNKNOWN_VIN", f"the registry does not know the vehicle {draft.vin}")
    # Again, under the lock of the vehicle's row: of two at once the second sees the first.
    await _check_none_in_flight(conn, draft)
    command = msgspec.structs.replace(draft, seq=admission.seq)
    await conn.execute(
        QUERIES["insert"],
        {
            "command_id": command.command_id,
            "vin": command.vin,
            "seq": command.seq,
            "kind": command.kind.value,
            "source": source,
            "body": Jsonb(msgspec.to_builtins(command)),
            "issued_at": command.issued_at,
            "due_at": command.issued_at + timedelta(seconds=complete_s),
        },
    )
    return command


async def _check_none_in_flight(conn: Connection, draft: Command) -> None:
    if draft.kind is CommandKind.CONFIGURE and await conn.value(
        QUERIES["in_flight"], {"vin": draft.vin}
    ):
        raise Conflict("COMMAND_IN_PROGRESS", f"a configuration of {draft.vin} is under way")


async def take_answer(conn: Connection, vin: str, answer: Answer, now: datetime) -> list[Ended]:
    """Note an answer; what it ended: a refused command, or a query that was answered."""
    commands = await conn.all(_Open, QUERIES["open_of"], {"vin": vin})
    for command in commands:
        if command.command_id != answer.command_id:
            continue
        row = {"command_id": command.command_id, "result": answer.result.value}
        await conn.execute(QUERIES["note_answer"], row)
        if answer.result is Result.REJECTED:
            code = "FIRMWARE_ERROR" if answer.reason is None else answer.reason.value
            return await _end(conn, [command.command_id], CommandEvent.FAILED, now, code)
        answered = answer.result in (Result.REPORT, Result.APPLIED)
        if answered and command.kind != CommandKind.CONFIGURE.value:
            return await _end(conn, [command.command_id], CommandEvent.PROVEN, now)
    return []


async def take_report(
    conn: Connection, vin: str, report: ReportedConfig, now: datetime
) -> list[Ended]:
    """The reported configuration proves what it shows (S6), from the command's number on."""
    commands = await conn.all(_Open, QUERIES["open_of"], {"vin": vin})
    proven = [
        command.command_id
        for command in commands
        if command.kind == CommandKind.CONFIGURE.value
        and report.seq >= command.seq
        and shows(msgspec.convert(command.wanted, list[ParameterSetting]), report.values)
    ]
    return await _end(conn, proven, CommandEvent.PROVEN, now) if proven else []


async def end_overdue(conn: Connection, now: datetime, batch: int) -> list[Ended]:
    """Fail what was not completed in time (DOMAIN 9: 300 s)."""
    rows = await conn.all(_Id, QUERIES["overdue"], {"now": now, "batch": batch})
    if not rows:
        return []
    ids = [row.command_id for row in rows]
    return await _end(conn, ids, CommandEvent.FAILED, now, TIMEOUT)


async def ask_unanswered(conn: Connection, now: datetime, lead_s: float, batch: int) -> int:
    """Query vehicles whose configuration is over soon: the report may only have been lost.

    DOMAIN 7: query before declaring failure. ``lead_s``: how long before the end, and at most half
    of the command's time. The number of vehicles asked.
    """
    params = {"now": now, "lead_s": lead_s, "batch": batch}
    rows = await conn.all(_Unanswered, QUERIES["unanswered"], params)
    for row in rows:
        draft = Command(
            vin=row.vin,
            command_id=new_id(),
            seq=1,
            kind=CommandKind.QUERY,
            issued_at=now,
            # Whole seconds on the wire: a shorter one would be over before it is sent.
            expires_at=max(row.due_at, now + timedelta(seconds=2)),
        )
        left_s = (draft.expires_at - now).total_seconds()
        # Only configurations count against the quota.
        with contextlib.suppress(NotFound):  # revoked meanwhile
            await enqueue(conn, draft, source=SOURCE, quota=1, complete_s=left_s)
    return len(rows)


async def _end(
    conn: Connection,
    ids: Sequence[UUID],
    event: CommandEvent,
    now: datetime,
    error_code: str | None = None,
) -> list[Ended]:
    state = COMMAND.next(CommandState.IN_PROGRESS, event)
    return await conn.all(
        Ended,
        QUERIES["end"],
        {
            "ids": list(ids),
            "state": state.value,
            "now": now,
            "error_code": error_code,
            "sources": [source.value for source in COMMAND.sources(event)],
        },
    )
