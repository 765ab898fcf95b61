"""Bus messages as facts to store, or as refusals for the quarantine; no I/O."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import msgspec

from core.bus import Message
from core.contracts.bus import (
    EPOCH,
    Answer,
    Counter,
    PresenceMessage,
    ReportedConfig,
    TelemetryBatch,
    Unusable,
    VehicleEvent,
    VehicleStatus,
    check_sample_times,
    check_time,
    decode,
)
from core.contracts.topics import MAX_PAYLOAD_BYTES, Topic, parse_topic

Body = Answer | PresenceMessage | ReportedConfig | TelemetryBatch | VehicleEvent | VehicleStatus

KINDS: MappingProxyType[Topic, type[Body]] = MappingProxyType(
    {
        Topic.ANSWER: Answer,
        Topic.CONFIG: ReportedConfig,
        Topic.STATUS: VehicleStatus,
        Topic.TELEMETRY: TelemetryBatch,
        Topic.EVENT: VehicleEvent,
        Topic.PRESENCE: PresenceMessage,
    }
)


class Position(msgspec.Struct, frozen=True):
    """The name of a telemetry message within its vehicle; all of it that a receipt needs."""

    boot: Counter
    n: Counter


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a message cannot be used."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Received:
    """One message as read: ``body`` where it can be used, else ``refusal``.

    ``vin`` is null where the topic names none; ``position`` where it is no telemetry message, or
    one whose name cannot be read.
    """

    message: Message
    at: datetime
    vin: str | None = None
    body: Body | None = None
    refusal: Refusal | None = None
    position: Position | None = None

    @property
    def rows(self) -> int:
        """How much it weighs in a batch."""
        return len(self.body.samples) if isinstance(self.body, TelemetryBatch) else 1

    def refused(self, reason: str, detail: str) -> "Received":
        """The same message, for the quarantine."""
        refusal = Refusal(reason, detail)
        return Received(self.message, self.at, self.vin, None, refusal, self.position)


class Reader:
    """Reads the messages under one topic prefix."""

    def __init__(self, prefix: str, oldest: timedelta) -> None:
        self._prefix = prefix
        self._oldest = oldest

    def read(self, message: Message, now: datetime) -> Received:
        """The message as facts or refusal; never raises for anything a vehicle can send."""
        named = parse_topic(self._prefix, message.topic)
        if named is None or named[1] not in KINDS:
            return Received(message, now).refused("BAD_TOPIC", "not an upward vehicle topic")
        vin, topic = named
        position: Position | None = None
        try:
            body = decode(KINDS[topic], message.payload)
            if isinstance(body, TelemetryBatch):
                position = Position(body.boot, body.n)
                self._check_samples(body, now)
            else:
                check_time(body.at, now)
        except Unusable as unusable:
            if topic is Topic.TELEMETRY and position is None:
                position = _position_of(message.payload)
            received = Received(message, now, vin, position=position)
            return received.refused(unusable.code, unusable.message)
        return Received(message, now, vin, body, position=position)

    def _check_samples(self, batch: TelemetryBatch, now: datetime) -> None:
        times = [sample.t for sample in batch.samples]
        check_sample_times(times, now)
        if min(times) < _milliseconds(now - self._oldest):
            raise Unusable(
                "TOO_OLD", f"a sample of t={min(times)} is older than {self._oldest.days} days"
            )


def _milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _position_of(payload: bytes) -> Position | None:
    # A vehicle sends what has no receipt again for ever, so what is kept in the quarantine gets one
    # wherever its name can be read.
    if len(payload) > MAX_PAYLOAD_BYTES * 2:
        return None
    try:
        return msgspec.json.decode(payload, type=Position)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
