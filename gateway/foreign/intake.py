"""From the bus to the database: commands for vehicles behind foreign APIs, verified as they would.

A command is acknowledged to the broker once it is durable. Commands of other vehicles come by as
well (the subscription has a wildcard): one look at the registry a batch, and they are forgotten.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from joserfc.jwk import KeySet
from psycopg.types.json import Jsonb

import core.log
from core.bus import Bus, Message, Subscription
from core.bus.batches import batches, commit
from core.contracts import jws
from core.contracts.bus import Answer, Command, Reason, Result, Unusable
from core.contracts.topics import Topic, filter_of, parse_topic
from core.db import Connection, is_content_error
from core.errors import SettingsError, Unavailable
from core.keys import KeyFile
from gateway.foreign import metrics, repository, rules
from gateway.foreign.apis import ForeignApi, api_of
from gateway.foreign.repository import QUERIES
from gateway.foreign.settings import ForeignSettings
from gateway.foreign.translate import config_of
from gateway.parts import Gateway

log = core.log.get(__name__)

GROUP = "bridge"


@dataclass(frozen=True, slots=True)
class _Vehicle:
    vin: str
    api: str | None
    highest_seq: int


@dataclass(frozen=True, slots=True)
class _Known:
    vin: str
    command_id: Any
    state: str
    answer: dict[str, Any] | None


@dataclass(slots=True)
class _Desk:
    """What a batch finds and does."""

    highest: dict[str, int]
    apis: dict[str, str | None]
    known: dict[tuple[str, Any], _Known]
    counted: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])


def subscriptions(prefix: str) -> list[Subscription]:
    """Every vehicle's commands, shared among the replicas."""
    return [Subscription(filter_of(prefix, Topic.CMD), GROUP)]


class Intake:
    """Takes commands in until stopped; ``wake`` is called when there is something to do."""

    def __init__(
        self,
        gateway: Gateway,
        settings: ForeignSettings,
        apis: Sequence[ForeignApi],
        wake: Callable[[], None],
    ) -> None:
        self._gateway = gateway
        self._settings = settings
        self._apis = list(apis)
        self._wake = wake
        self._key_file = KeyFile(gateway.signing.keys_file)

    async def run(self, bus: Bus, stop: asyncio.Event) -> None:
        """Take in until ``stop``."""
        async for batch in batches(
            bus,
            stop,
            convert=lambda message: message,
            weigh=lambda _message: 1,
            most=self._settings.batch_messages,
            wait_s=self._settings.batch_wait_s,
        ):
            async for part, counted in commit(
                batch,
                self.write,
                stop,
                is_content_error=is_content_error,
                # Nothing of it can be kept: its sender hears nothing, and its timer handles that.
                refuse=lambda item, _error: Message("", b"", token=item.token),
            ):
                for message in part:
                    bus.ack(message)
                for labels in counted:
                    metrics.COMMANDS.labels(*labels).inc()
                if counted:
                    self._wake()

    async def write(self, batch: Sequence[Message]) -> list[tuple[str, str, str]]:
        """Keep what is ours; (kind, result, reason) of each. One transaction."""
        named = [
            (parsed[0], message)
            for message in batch
            if (parsed := parse_topic(self._gateway.bus_settings.prefix, message.topic))
        ]
        if not named:
            return []
        async with self._gateway.database.transaction() as conn:
            rows = await conn.dicts(
                QUERIES["foreign_vins"], {"vins": sorted({vin for vin, _ in named})}
            )
        ours = {row["vin"] for row in rows}
        if not ours:
            return []
        keys = await asyncio.to_thread(self._keys)
        now = self._gateway.clock.now()
        # Signatures are checked before the transaction, which only has to be short.
        read = [(vin, _read(message.payload, keys, now)) for vin, message in named if vin in ours]
        async with self._gateway.database.transaction() as conn:
            desk = await self._open(conn, ours, read)
            for vin, command in read:
                await self._take(conn, desk, vin, command)
            for vin, seq in sorted(desk.highest.items()):
                row = {"vin": vin, "highest_seq": seq, "now": now}
                await conn.execute(QUERIES["intake_done"], row)
        return desk.counted

    def _keys(self) -> KeySet:
        try:
            return self._key_file.load().verifier()
        except SettingsError as error:
            # A vehicle without keys waits for them as well.
            raise Unavailable("KEYS_UNAVAILABLE", error.message) from None

    async def _open(
        self, conn: Connection, vins: set[str], read: Sequence[tuple[str, Command | Answer]]
    ) -> _Desk:
        now = self._gateway.clock.now()
        there = sorted(vins)
        apis = [api_of(vin, self._apis) for vin in there]
        await conn.execute(QUERIES["adopt"], {"vins": there, "apis": apis, "now": now})
        vehicles = await conn.all(_Vehicle, QUERIES["lock"], {"vins": there})
        asked = [(vin, item.command_id) for vin, item in read if isinstance(item, Command)]
        known = await conn.all(
            _Known,
            QUERIES["known_commands"],
            {"vins": [vin for vin, _ in asked], "ids": [known_id for _, known_id in asked]},
        )
        return _Desk(
            {row.vin: row.highest_seq for row in vehicles},
            {row.vin: row.api for row in vehicles},
            {(row.vin, row.command_id): row for row in known},
        )

    async def _take(self, conn: Connection, desk: _Desk, vin: str, item: Command | Answer) -> None:
        now = self._gateway.clock.now()
        if isinstance(item, Answer):  # it could not be read or is not signed: this says so
            await repository.say(conn, vin, [item], now)
            desk.counted.append(("UNREADABLE", item.result.value, item.reason or ""))
            return
        if vin not in desk.highest:
            return  # taken out of the registry meanwhile
        known = desk.known.get((vin, item.command_id))
        if known is not None and item.vin == vin:
            await self._repeat(conn, vin, known)
            desk.counted.append((item.kind.value, "REPEATED", ""))
            return
        refusal = rules.refuse(vin, item, desk.highest[vin], now)
        if refusal is None and desk.apis[vin] is None:
            refusal = Reason.INCOMPATIBLE, "no IoT API is set up for this vehicle"
        answer = None
        if refusal is not None:
            reason, detail = refusal
            answer = Answer(Result.REJECTED, now, item.command_id, item.seq, reason, detail)
            await repository.say(conn, vin, [answer], now)
            desk.counted.append((item.kind.value, answer.result.value, reason.value))
            if reason in (Reason.WRONG_VEHICLE, Reason.REPLAYED):
                return
        else:
            desk.counted.append((item.kind.value, "TAKEN", ""))
        desk.highest[vin] = item.seq
        await self._keep(conn, vin, item, answer)
        desk.known[vin, item.command_id] = _Known(
            vin, item.command_id, "", None if answer is None else msgspec.to_builtins(answer)
        )

    async def _keep(
        self, conn: Connection, vin: str, command: Command, answer: Answer | None
    ) -> None:
        await conn.execute(
            QUERIES["insert_command"],
            {
                "vin": vin,
                "command_id": command.command_id,
                "seq": command.seq,
                "kind": command.kind.value,
                "body": Jsonb(msgspec.to_builtins(command)),
                "state": "RECEIVED" if answer is None else "DONE",
                "now": self._gateway.clock.now(),
                "expires_at": command.expires_at,
                "answer": None if answer is None else Jsonb(msgspec.to_builtins(answer)),
            },
        )

    async def _repeat(self, conn: Connection, vin: str, known: _Known) -> None:
        """A known command: its last answer again, and the configuration behind an APPLIED."""
        if known.answer is None:
            return  # its answer is still to come
        answer = msgspec.convert(known.answer, Answer)
        messages: list[repository.Message] = [answer]
        if answer.result is Result.APPLIED:
            vehicle = await repository.find(conn, vin)
            if vehicle is not None and vehicle.values_at is not None:
                messages.append(config_of(vehicle.seen))
        await repository.say(conn, vin, messages, self._gateway.clock.now())


def _read(payload: bytes, keys: KeySet, now: datetime) -> Command | Answer:
    """The command, or the answer to one that cannot be read or is not signed by us."""
    try:
        return jws.verify(payload, keys)
    except Unusable as error:
        bad = error.code == Reason.BAD_SIGNATURE
        reason = Reason.BAD_SIGNATURE if bad else Reason.MALFORMED
        command_id, seq = jws.peek_ids(payload)
        return Answer(Result.REJECTED, now, command_id, seq, reason, error.message[:300])
