"""Rows of the vehicles behind foreign APIs; the edge owns the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from core.contracts.bus import (
    Answer,
    Command,
    PresenceMessage,
    ReportedConfig,
    VehicleEvent,
    VehicleStatus,
    encode,
)
from core.contracts.topics import Topic
from core.db import Connection, load_queries
from core.errors import Conflict
from gateway.foreign.translate import Seen, Values, defaults_of

QUERIES = load_queries("gateway.foreign")

Message = Answer | PresenceMessage | ReportedConfig | VehicleEvent | VehicleStatus
_TOPICS: dict[type[Message], Topic] = {
    Answer: Topic.ANSWER,
    PresenceMessage: Topic.PRESENCE,
    ReportedConfig: Topic.CONFIG,
    VehicleEvent: Topic.EVENT,
    VehicleStatus: Topic.STATUS,
}


class LeaseLost(Conflict):
    """The turn took longer than its lease, and another replica has the vehicle."""

    def __init__(self, vin: str) -> None:
        super().__init__("LEASE_LOST", f"another replica has taken {vin} up")


@dataclass(frozen=True, slots=True)
class VehicleRow:
    vin: str
    model: str
    firmware: str
    applied_seq: int
    values: Values | None
    values_at: datetime | None
    config_digest: str | None
    online: bool
    session: str | None
    boot: int
    status: dict[str, Any] | None
    status_at: datetime | None
    quiet_until: datetime | None
    poll_at: datetime
    events_at: datetime
    events_from: datetime
    events_said: list[UUID]
    look_tries: int

    @property
    def seen(self) -> Seen:
        """What the rules look at."""
        return Seen(**{name: getattr(self, name) for name in Seen.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A command that is not told to its end yet."""

    command_id: UUID
    seq: int
    kind: str
    body: dict[str, Any]
    state: str
    foreign_id: UUID | None
    error_code: str | None
    tries: int
    expires_at: datetime
    ended_at: datetime | None

    @property
    def command(self) -> Command:
        return msgspec.convert(self.body, Command)


async def say(conn: Connection, vin: str, messages: Sequence[Message], now: datetime) -> None:
    """Put messages behind what is still to be said on the bus for a vehicle."""
    rows = [
        {"vin": vin, "topic": _TOPICS[type(item)].value, "payload": encode(item), "now": now}
        for item in messages
    ]
    if rows:
        await conn.execute_many(QUERIES["say"], rows)


async def find(conn: Connection, vin: str) -> VehicleRow | None:
    """A vehicle with what was said of it."""
    return await conn.one_or_none(VehicleRow, QUERIES["vehicle"], {"vin": vin})


async def next_command(conn: Connection, vin: str, now: datetime) -> CommandRow | None:
    """The command whose turn it is."""
    return await conn.one_or_none(CommandRow, QUERIES["next_command"], {"vin": vin, "now": now})


async def set_since(conn: Connection, vin: str, seq: int) -> set[str]:
    """The parameters that configurations after ``seq`` have set, and said so."""
    rows = await conn.dicts(QUERIES["set_since"], {"vin": vin, "seq": seq})
    return {f"{item['module']}.{item['parameter']}" for row in rows for item in row["settings"]}


async def defaults(conn: Connection, model: str, firmware: str) -> Values:
    """What a vehicle of this firmware has when nothing is bought."""
    params = {"model": model, "firmware": firmware}
    return defaults_of(
        await conn.dicts(QUERIES["capabilities"], params),
        await conn.dicts(QUERIES["mappings"], params),
    )


async def save(conn: Connection, vin: str, seen: Seen, poll_at: datetime, slot: int) -> None:
    """Keep what was said and learnt of a vehicle; LeaseLost where another replica has it now."""
    kept = await conn.execute(
        QUERIES["save_vehicle"],
        {
            "vin": vin,
            "applied_seq": seen.applied_seq,
            "values": None if seen.values is None else Jsonb(seen.values),
            "values_at": seen.values_at,
            "config_digest": seen.config_digest,
            "online": seen.online,
            "session": seen.session,
            "boot": seen.boot,
            "status": None if seen.status is None else Jsonb(seen.status),
            "status_at": seen.status_at,
            "quiet_until": seen.quiet_until,
            "poll_at": poll_at,
            "slot": slot,
        },
    )
    if not kept:
        raise LeaseLost(vin)


async def again(conn: Connection, vin: str, command: CommandRow, at: datetime) -> None:
    """Try a command's next step later."""
    await conn.execute(
        QUERIES["command_again"],
        {"vin": vin, "command_id": command.command_id, "state": command.state, "at": at},
    )


async def taken(
    conn: Connection, vin: str, command: CommandRow, foreign_id: UUID, answer: Answer, at: datetime
) -> bool:
    """The API has it; False where a callback was faster."""
    row = {
        "vin": vin,
        "command_id": command.command_id,
        "foreign_id": foreign_id,
        "answer": Jsonb(msgspec.to_builtins(answer)),
        "at": at,
    }
    return bool(await conn.execute(QUERIES["command_taken"], row))


async def completed(conn: Connection, vin: str, command: CommandRow, at: datetime) -> None:
    """The API says it is in effect; what the vehicle reports is to be read."""
    row = {"vin": vin, "command_id": command.command_id, "at": at}
    await conn.execute(QUERIES["command_completed"], row)


async def done(conn: Connection, vin: str, command: CommandRow, answer: Answer) -> bool:
    """Told to its end; False where it was already."""
    row = {
        "vin": vin,
        "command_id": command.command_id,
        "answer": Jsonb(msgspec.to_builtins(answer)),
    }
    return bool(await conn.execute(QUERIES["command_done"], row))


async def release(
    conn: Connection, vin: str, now: datetime, slot: int, retry_s: float, retry_max_s: float
) -> None:
    """End the lease, if it is this replica's; the vehicle is due again when anything of it is.

    What the broker refused is due after ``retry_s`` seconds, doubling to ``retry_max_s``.
    """
    await conn.execute(QUERIES["lock_one"], {"vin": vin})
    waits = {"retry_s": retry_s, "retry_max_s": retry_max_s}
    await conn.execute(QUERIES["release"], {"vin": vin, "now": now, "slot": slot, **waits})
