"""From the bus to the vehicles' state: presence, status, reported configuration, answers."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

import core.log
from core.bus import Bus, Message, Subscription
from core.bus.batches import batches, commit
from core.clock import Clock
from core.contracts.bus import (
    Answer,
    PresenceMessage,
    ReportedConfig,
    Unusable,
    VehicleEvent,
    VehicleStatus,
    check_time,
    decode,
    fits_digest,
)
from core.contracts.topics import UPWARD, Topic, filter_of, parse_topic
from core.db import Connection, Database, is_content_error, load_queries
from gateway import metrics, state
from gateway.parts import (
    BatchFollower,
    Body,
    Changed,
    ChangeFollower,
    Followed,
    Follower,
    Telemetry,
    TelemetryTaker,
)
from gateway.settings import GatewaySettings, PresenceSettings
from gateway.state import VehicleState

log = core.log.get(__name__)

QUERIES = load_queries("gateway")
GROUP = "gateway"
_COLUMNS = tuple(field.name for field in fields(VehicleState))
_KINDS: dict[Topic, type[Body]] = {
    Topic.ANSWER: Answer,
    Topic.CONFIG: ReportedConfig,
    Topic.STATUS: VehicleStatus,
    Topic.EVENT: VehicleEvent,
    Topic.PRESENCE: PresenceMessage,
}


def subscriptions(prefix: str) -> list[Subscription]:
    """Everything vehicles say, shared among the gateways; telemetry only as a sign of life."""
    return [Subscription(filter_of(prefix, topic), GROUP) for topic in sorted(UPWARD)]


@dataclass(frozen=True, slots=True)
class Received:
    """One message as read; without ``body`` it is telemetry, or cannot be used (``refusal``)."""

    message: Message
    vin: str = ""
    body: Body | None = None
    refusal: str | None = None


@dataclass(slots=True)
class _Tally:
    """What a committed part is counted as: nothing is counted that is rolled back."""

    unknown: int = 0
    bad_digests: int = 0
    other_models: int = 0
    on_commit: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


class Consumer:
    """Follows what vehicles say; one for each connection to the bus."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        *,
        prefix: str,
        settings: GatewaySettings,
        presence: PresenceSettings,
        clock: Clock,
        followers: Sequence[Follower] = (),
        batch_followers: Sequence[BatchFollower] = (),
        change_followers: Sequence[ChangeFollower] = (),
        telemetry_takers: Sequence[TelemetryTaker] = (),
    ) -> None:
        self._database = database
        self._bus = bus
        self._prefix = prefix
        self._settings = settings
        self._presence = presence
        self._clock = clock
        self._followers = followers
        self._batch_followers = batch_followers
        self._change_followers = change_followers
        self._telemetry_takers = telemetry_takers
        self._seen: dict[str, float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until ``stop``, then what has been received."""
        async for batch in batches(
            self._bus,
            stop,
            convert=self._read,
            weigh=lambda _item: 1,
            most=self._settings.batch_messages,
            wait_s=self._settings.batch_wait_s,
            drain_s=self._settings.drain_s,
        ):
            try:
                await self._follow(batch, stop)
            except Exception:
                if not stop.is_set():
                    raise
                # Not acknowledged: the broker keeps it for the next start.
                log.exception("stopping with a batch that could not be stored")
                return

    async def _follow(self, batch: Sequence[Received], stop: asyncio.Event) -> None:
        async for part, tally in commit(
            batch,
            self._write,
            stop,
            is_content_error=is_content_error,
            refuse=lambda item, _error: replace(item, body=None, refusal="UNSTORABLE"),
        ):
            for item in part:
                self._bus.ack(item.message)
                metrics.MESSAGES.labels(item.message.topic.rpartition("/")[2]).inc()
                if item.refusal is not None:
                    metrics.UNUSABLE.labels(item.refusal).inc()
            metrics.UNUSABLE.labels("UNKNOWN_VIN").inc(tally.unknown)
            metrics.REPORT_MISMATCHES.labels("digest").inc(tally.bad_digests)
            metrics.REPORT_MISMATCHES.labels("model").inc(tally.other_models)
            for count in tally.on_commit:
                count()

    def _read(self, message: Message) -> Received:
        named = parse_topic(self._prefix, message.topic)
        if named is None:
            return Received(message, refusal="BAD_TOPIC")
        vin, topic = named
        kind = _KINDS.get(topic)
        if kind is None:
            return Received(message, vin)
        try:
            body = decode(kind, message.payload)
            check_time(body.at, self._clock.now())
        except Unusable as unusable:
            return Received(message, vin, refusal=unusable.code)
        return Received(message, vin, body)

    async def _write(self, batch: Sequence[Received]) -> _Tally:
        tally = _Tally()
        # Only a sign of life, and one written a moment ago: no reason to go to the database.
        news = [item for item in batch if item.vin and (item.body or self._is_sign_of_life(item))]
        taken = [(taker, of) for taker in self._telemetry_takers if (of := _wanted(taker, batch))]
        if not news and not taken:
            return tally
        now = self._clock.now()
        async with self._database.transaction() as conn:
            rows = await conn.all(
                VehicleState, QUERIES["states"], {"vins": sorted({item.vin for item in news})}
            )
            before = {row.vin: row for row in rows}
            after = dict(before)
            all_followed: list[Followed] = []
            for item in news:
                if item.vin not in after:
                    tally.unknown += 1
                    continue
                known = after[item.vin]
                after[item.vin] = self._apply(known, item, now, tally)
                if item.body is not None:
                    followed = Followed(
                        item.vin,
                        item.body,
                        item.message.retain,
                        known,
                        after[item.vin],
                        now,
                        tally.on_commit,
                    )
                    all_followed.append(followed)
                    for follow in self._followers:
                        await follow(conn, followed)
            for follow_batch in self._batch_followers:
                await follow_batch(conn, all_followed)
            changes = [
                Changed(before[vin], after[vin], now, tally.on_commit)
                for vin in before
                if after[vin].presence != before[vin].presence
            ]
            for follow_changes in self._change_followers if changes else ():
                await follow_changes(conn, changes)
            await _save(conn, before, after)
            for taker, of in taken:
                await taker.take(conn, of, now, tally.on_commit)
        moment = time.monotonic()
        self._seen.update((vin, moment) for vin in after)
        return tally

    def _is_sign_of_life(self, item: Received) -> bool:
        """Whether the message says that its vehicle lives, and the last such is some time ago.

        A retained message says what was, and a refused one need not come from its vehicle.
        """
        last = self._seen.get(item.vin)
        recent = last is not None and time.monotonic() - last < self._settings.seen_every_s
        return item.refusal is None and not item.message.retain and not recent

    def _apply(
        self, vehicle: VehicleState, item: Received, now: datetime, tally: _Tally
    ) -> VehicleState:
        limited_below = self._presence.limited_below
        body = item.body
        if isinstance(body, PresenceMessage):
            live = not item.message.retain
            return state.follow_presence(vehicle, body, now, limited_below, live=live)
        if isinstance(body, VehicleStatus):
            vehicle = state.follow_status(vehicle, body, now, limited_below)
        elif isinstance(body, ReportedConfig):
            tally.bad_digests += not fits_digest(body)
            tally.other_models += body.model != vehicle.model
            vehicle = state.follow_config(vehicle, body)
        if item.message.retain:
            return vehicle
        return state.seen(vehicle, now, limited_below)


def _wanted(taker: TelemetryTaker, batch: Sequence[Received]) -> list[Telemetry]:
    """The telemetry in a batch that ``taker`` wants."""
    return [
        Telemetry(item.vin, item.message.payload)
        for item in batch
        if item.vin and item.body is None and item.refusal is None and taker.wants(item.vin)
    ]


async def _save(
    conn: Connection, before: dict[str, VehicleState], after: dict[str, VehicleState]
) -> None:
    changed = [after[vin] for vin in before if after[vin] != before[vin]]
    if changed:
        await conn.execute_many(QUERIES["save_state"], [_columns(vehicle) for vehicle in changed])
    upgraded = [
        {"vin": vehicle.vin, "firmware": vehicle.firmware}
        for vehicle in changed
        if vehicle.firmware != before[vehicle.vin].firmware
    ]
    if upgraded:
        await conn.execute_many(QUERIES["save_firmware"], upgraded)


def _columns(vehicle: VehicleState) -> dict[str, Any]:
    # Not `asdict`, which copies every value of a report, and costs more than reading it.
    columns: dict[str, Any] = {name: getattr(vehicle, name) for name in _COLUMNS}
    for name in ("new_status", "new_values"):
        if columns[name] is not None:
            columns[name] = Jsonb(columns[name])
    return columns
