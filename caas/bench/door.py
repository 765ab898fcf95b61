"""The door of the bus benchmark: commands are admitted in batches, signed and published."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from joserfc.jwk import OKPKey
from psycopg.types.json import Jsonb

from core.bus import Bus, Properties
from core.contracts.bus import Command, CommandKind, ParameterSetting
from core.contracts.jws import CONTENT_TYPE, sign
from core.contracts.topics import Topic, topic_of
from core.db import Database, load_queries
from core.ids import new_id

QUERIES = load_queries("caas")
BATCH = 100
BATCHES_UNDER_WAY = 4
EXPIRES = timedelta(minutes=30)
QUOTA = 1_000_000_000  # the benchmark is no customer
# Every model has it, and a car that drives takes it too. It is on after the first command, so that
# the measured ones bring an answer and a configuration each, and nothing else.
VALUES = [ParameterSetting("INFOTAINMENT", "premium_streaming", True)]
SERVICE = "PREMIUM_ENTERTAINMENT"


@dataclass
class Sent:
    """When each command was handed to the bus, and the last number of each vehicle."""

    at: dict[UUID, float] = field(default_factory=dict[UUID, float])
    seq: dict[str, int] = field(default_factory=dict[str, int])
    vin: dict[UUID, str] = field(default_factory=dict[UUID, str])


@dataclass(frozen=True, slots=True)
class _Admitted:
    command_id: UUID
    seq: int


@dataclass(frozen=True)
class Door:
    """What a dispatcher of the platform does: one transaction a batch, published after it."""

    database: Database
    bus: Bus
    key: OKPKey
    prefix: str
    quota: int = QUOTA
    source: str = "bench"

    async def admit(self, vins: Sequence[str]) -> list[Command]:
        """A numbered and logged CONFIGURE for each, committed."""
        now = _now()
        drafts = {(draft := _draft(vin, now)).command_id: draft for vin in vins}
        async with self.database.transaction() as conn:
            rows = await conn.all(
                _Admitted,
                QUERIES["bench_admit"],
                {
                    "ids": list(drafts),
                    "vins": list(vins),
                    "kinds": [CommandKind.CONFIGURE.value] * len(vins),
                    "services": [SERVICE] * len(vins),
                    "contents": [Jsonb(msgspec.to_builtins(d.values)) for d in drafts.values()],
                    "now": now,
                    "quota": self.quota,
                    "source": self.source,
                },
            )
        return [msgspec.structs.replace(drafts[row.command_id], seq=row.seq) for row in rows]

    async def publish(self, command: Command, sent: Sent, payload: bytes | None = None) -> None:
        """Sign and publish; ``payload``: signed already."""
        sent.at[command.command_id] = time.time()
        sent.vin[command.command_id] = command.vin
        sent.seq[command.vin] = max(command.seq, sent.seq.get(command.vin, 0))
        await self.bus.publish(
            topic_of(self.prefix, command.vin, Topic.CMD),
            payload or sign(command, self.key),
            properties=properties(self.prefix, command),
            timeout_s=120,
        )

    async def at_full_speed(self, vins: Sequence[str], rounds: int) -> Sent:
        """``rounds`` commands to each vehicle: the next batch is admitted while one is sent."""
        sent, room = Sent(), asyncio.Semaphore(BATCHES_UNDER_WAY)

        async def send(commands: Sequence[Command]) -> None:
            try:
                await asyncio.gather(*(self.publish(command, sent) for command in commands))
            finally:
                room.release()

        async with asyncio.TaskGroup() as group:
            for _ in range(rounds):
                for first in range(0, len(vins), BATCH):
                    await room.acquire()
                    commands = await self.admit(vins[first : first + BATCH])
                    group.create_task(send(commands))
        return sent

    async def paced(self, vins: Sequence[str], per_s: float) -> Sent:
        """A command to each vehicle, one after the other in time, as single requests come in."""
        sent, loop = Sent(), asyncio.get_running_loop()
        begin = loop.time()

        async def one(vin: str) -> None:
            for command in await self.admit([vin]):
                await self.publish(command, sent)

        async with asyncio.TaskGroup() as group:
            for number, vin in enumerate(vins):
                await asyncio.sleep(max(0.0, begin + number / per_s - loop.time()))
                group.create_task(one(vin))
        return sent


async def publish_bare(
    bus: Bus, prefix: str, payloads: Sequence[tuple[str, bytes, Properties]]
) -> float:
    """The same messages and nothing else; when the first went out, seconds since the epoch."""
    begin, waiting = time.time(), iter(payloads)

    async def lane() -> None:
        for vin, payload, of in waiting:
            await bus.publish(
                topic_of(prefix, vin, Topic.CMD), payload, properties=of, timeout_s=120
            )

    await asyncio.gather(*(lane() for _ in range(BATCH * BATCHES_UNDER_WAY)))
    return begin


def properties(prefix: str, command: Command) -> Properties:
    """What BUS.md wants of a command's message."""
    return Properties(
        content_type=CONTENT_TYPE,
        response_topic=topic_of(prefix, command.vin, Topic.ANSWER),
        correlation=command.command_id.bytes,
        expiry_s=int(EXPIRES.total_seconds()),
    )


def latencies_ms(sent: Sent, committed: Mapping[str, float]) -> list[float]:
    """From each publish to the commit of what came of it, by command id as text."""
    return [
        (committed[str(command_id)] - at) * 1000
        for command_id, at in sent.at.items()
        if str(command_id) in committed
    ]


def _draft(vin: str, now: datetime) -> Command:
    return Command(
        vin, new_id(), 1, CommandKind.CONFIGURE, now, now + EXPIRES, SERVICE, values=VALUES
    )


def _now() -> datetime:
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
