"""Commands and tickets in the database: typed calls on one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from core.contracts.bus import Command, CommandKind
from core.contracts.commands import COMMAND, CommandEvent
from core.contracts.states import CommandState
from core.db import Connection, load_queries
from ota_engine.model import CommandRow, TicketKind

Q = load_queries("ota_engine")


@dataclass(frozen=True, slots=True)
class Admission:
    outcome: str
    seq: int | None
    retry_after_s: int | None


@dataclass(frozen=True, slots=True)
class Ticket:
    ticket_id: UUID
    number: str
    state: str


@dataclass(frozen=True, slots=True)
class _Body:
    body: dict[str, Any]


class CommandRepository:
    """The commands of the engine and their numbers; the edge commits."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn

    async def admit(
        self,
        command_id: UUID,
        vin: str,
        kind: CommandKind,
        content: dict[str, Any],
        now: datetime,
        quota: int,
        service: str | None,
    ) -> Admission:
        """The vehicle's next command number, or why there is none now (DOMAIN 7, Quota)."""
        found = await self.conn.one_or_none(
            Admission,
            Q["admit"],
            {
                "command_id": command_id,
                "vin": vin,
                "kind": kind.value,
                "service": service,
                "content": Jsonb(content),
                "now": now,
                "quota": quota,
            },
        )
        assert found is not None
        return found

    async def insert_command(
        self, command: Command, activation_id: UUID | None, delivery_id: UUID | None,
        publish_after: datetime,
    ) -> None:  # fmt: skip
        await self.conn.execute(
            Q["insert_command"],
            {
                "command_id": command.command_id,
                "vin": command.vin,
                "seq": command.seq,
                "kind": command.kind.value,
                "activation_id": activation_id,
                "delivery_id": delivery_id,
                "body": Jsonb(msgspec.to_builtins(command)),
                "issued_at": command.issued_at,
                "expires_at": command.expires_at,
                "publish_after": publish_after,
            },
        )

    async def mark_published(self, command_id: UUID, at: datetime) -> None:
        await self.conn.execute(Q["mark_published"], {"command_id": command_id, "at": at})

    async def close_command(
        self, command_id: UUID, event: CommandEvent, at: datetime, reason: str | None = None
    ) -> None:
        """COMPLETED or FAILED, once: a command that is closed already stays as it is."""
        target = COMMAND.next(CommandState.IN_PROGRESS, event)
        row = {"command_id": command_id, "state": target.value, "at": at, "reason": reason}
        await self.conn.execute(Q["close_command"], row)

    async def answer_command(
        self,
        command_id: UUID,
        result: str,
        reason: str | None,
        *,
        answer_at: datetime,
        at: datetime,
    ) -> None:
        """``answer_at`` is the vehicle's own time, ``at`` ours."""
        row = {
            "command_id": command_id,
            "result": result,
            "reason": reason,
            "answer_at": answer_at,
            "at": at,
        }
        await self.conn.execute(Q["answer_command"], row)

    async def command(self, command_id: UUID, vin: str) -> CommandRow | None:
        row = {"command_id": command_id, "vin": vin}
        return await self.conn.one_or_none(CommandRow, Q["command"], row)

    async def command_by_seq(self, vin: str, seq: int) -> CommandRow | None:
        return await self.conn.one_or_none(
            CommandRow, Q["command_by_seq"], {"vin": vin, "seq": seq}
        )

    async def command_in_flight(self, vin: str) -> CommandRow | None:
        return await self.conn.one_or_none(CommandRow, Q["command_in_flight"], {"vin": vin})

    async def overtaken(self, command: CommandRow) -> bool:
        row = {"vin": command.vin, "seq": command.seq}
        return bool(await self.conn.value(Q["overtaken"], row))

    async def text_to_show(self, command_id: UUID, now: datetime) -> Command | None:
        """A DISPLAY whose time is not over; None for any other command."""
        row = {"command_id": command_id, "now": now}
        found = await self.conn.one_or_none(_Body, Q["text_to_show"], row)
        return None if found is None else msgspec.convert(found.body, Command)

    async def body_of_delivery(self, delivery_id: UUID, seq: int | None) -> Command | None:
        """The CONFIGURE with number ``seq`` of this delivery, else its last one."""
        row = {"delivery_id": delivery_id, "seq": -1 if seq is None else seq}
        found = await self.conn.one_or_none(_Body, Q["body_of_delivery"], row)
        return None if found is None else msgspec.convert(found.body, Command)

    async def claim_unpublished(
        self, now: datetime, next_try: datetime, batch: int
    ) -> list[Command]:
        row = {"now": now, "next": next_try, "batch": batch}
        rows = await self.conn.all(_Body, Q["claim_unpublished"], row)
        return [msgspec.convert(found.body, Command) for found in rows]

    async def sweep_unanswered(self, now: datetime, batch: int) -> int:
        return await self.conn.execute(Q["sweep_unanswered"], {"now": now, "batch": batch})


class TicketRepository:
    """Support tickets; the edge commits."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn

    async def insert_ticket(self, row: dict[str, Any]) -> bool:
        """False where the activation has one of this kind already."""
        return await self.conn.execute(Q["insert_ticket"], row) == 1

    async def ticket(self, activation_id: UUID, kind: TicketKind) -> Ticket | None:
        return await self.conn.one_or_none(
            Ticket, Q["ticket"], {"activation_id": activation_id, "kind": kind.value}
        )

    async def insert_drift_ticket(self, row: dict[str, Any]) -> bool:
        """False where the drift has one already."""
        return await self.conn.execute(Q["insert_drift_ticket"], row) == 1

    async def drift_ticket(self, drift_id: UUID) -> Ticket | None:
        return await self.conn.one_or_none(Ticket, Q["drift_ticket"], {"drift_id": drift_id})

    async def set_ticket(self, activation_id: UUID, ticket_id: UUID, at: datetime) -> None:
        row = {"activation_id": activation_id, "ticket_id": ticket_id, "at": at}
        await self.conn.execute(Q["set_ticket"], row)

    async def note_on_ticket(self, activation_id: UUID, note: dict[str, Any], at: datetime) -> None:
        row = {"activation_id": activation_id, "note": Jsonb(note), "at": at}
        await self.conn.execute(Q["note_on_ticket"], row)

    async def move_ticket(
        self, ticket_id: UUID, to_state: str, from_states: Sequence[str], at: datetime
    ) -> bool:
        row = {
            "ticket_id": ticket_id,
            "to_state": to_state,
            "from_states": list(from_states),
            "at": at,
        }
        return await self.conn.execute(Q["move_ticket"], row) == 1
