"""What must hold of any bytes on any topic, in every decoder that reads them; no I/O."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, cast
from uuid import UUID

from core.bus import Message
from core.clock import ManualClock, rfc3339
from core.contracts.bus import TelemetryBatch, decode, encode
from core.contracts.topics import UPWARD, Topic
from core.settings import load
from gateway import consumer as gateway
from gateway.settings import GatewaySettings, PresenceSettings
from gateway.state import VehicleState
from telemetry import store
from telemetry.decode import Reader

PREFIX = "caas/v1/vehicles"
VIN = "VF1AURXRA00000017"
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
TOPICS = [f"{PREFIX}/{VIN}/{topic.value}" for topic in sorted(UPWARD)] + [
    f"{PREFIX}/{VIN}/cmd",
    f"{PREFIX}/{VIN}/telemetry/more",
    f"{PREFIX}/VF1AURORA00000017/status",
    f"{PREFIX}//status",
    "elsewhere",
]
REASONS = {"BAD_TOPIC", "NOT_JSON", "MALFORMED", "TOO_LARGE", "FROM_THE_FUTURE", "TOO_OLD"}
INT8 = 2**63
# Words the types know, so that a search need not find them letter by letter.
WORDS = (
    "at", "boot", "n", "samples", "t", "state", "extra", "session", "seq", "firmware", "model",
    "values", "digest", "module", "parameter", "value", "result", "reason", "detail",
    "command_id", "event_id", "type", "code", "operational", "signal_pct", "lat", "lon",
    "soc_pct", "error_codes", "active_services", "service", "since", "ONLINE", "OFFLINE",
    "LIMITED", "PARKED", "RUNNING", "APPLIED", "REJECTED", "EXPIRED", "DTC_SET", "ACTIVE",
    "true", "false", "null", "NaN", "Infinity", "1e999", "-0.0", "9007199254740993",
    "9223372036854775808", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00+14:00",
)  # fmt: skip

_reader = Reader(PREFIX, timedelta(days=40))
_consumer = gateway.Consumer(
    cast("Any", None),
    cast("Any", None),
    prefix=PREFIX,
    settings=load(GatewaySettings),
    presence=load(PresenceSettings),
    clock=ManualClock(NOW),
)


def good(now: datetime = NOW) -> dict[str, bytes]:
    """A usable message of every kind, by the last level of its topic."""
    at, uuid, t = rfc3339(now), str(UUID(int=7)), int(now.timestamp() * 1000)
    bodies: dict[str, Any] = {
        "answer": {"command_id": uuid, "seq": 41, "result": "REJECTED", "reason": "EXPIRED",
                   "detail": "é", "at": at},
        "config": {"at": at, "seq": 41, "firmware": "2.4.1", "model": "AURORA", "digest": "0",
                   "values": [{"module": "A", "parameter": "b", "value": value}
                              for value in ("HIGH", 4, 4.5, True)]},
        "event": {"event_id": uuid, "at": at, "type": "DTC_SET", "code": "P0A0F", "detail": "x"},
        "presence": {"state": "ONLINE", "at": at, "session": uuid, "boot": 17},
        "status": {"at": at, "operational": "PARKED", "firmware": "2.4.1", "signal_pct": 80.5,
                   "lat": 40.4, "lon": -3.7, "error_codes": ["P0A0F"],
                   "active_services": [{"service": "S", "since": at, "state": "ACTIVE"}]},
        "telemetry": {"boot": 17, "n": 5120, "samples": [
            {"t": t - 1000, "speed_kmh": 87.5, "state": "RUNNING", "extra": {"tyre": 241}},
            {"t": t}]},
    }  # fmt: skip
    return {topic: json.dumps(body).encode() for topic, body in bodies.items()}


def check(topic: str, payload: bytes) -> None:
    """AssertionError, or whatever a decoder raises, where a message would stop a service."""
    message = Message(topic, payload)
    stored = _reader.read(message, NOW)
    assert (stored.body is None) == (stored.refusal is not None)
    followed = _consumer._read(message)
    if stored.refusal is not None:
        assert stored.refusal.reason in REASONS, stored.refusal
        _storable(store._text(stored.refusal.detail))
        _storable(store._text(topic))
    else:
        assert is_json(payload)
        _check_body(stored.body)
    if topic.rpartition("/")[2] not in (Topic.TELEMETRY, Topic.CMD):
        # Two rooms read the same message alike, or the quarantine would not know of it.
        assert followed.refusal == (stored.refusal and stored.refusal.reason)
    if followed.body is not None:
        _check_state(followed)


def is_json(payload: bytes) -> bool:
    """What RFC 8259 calls JSON, in the judgement of another parser."""
    try:
        json.loads(payload.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check_body(body: Any) -> None:
    again = decode(type(body), encode(body))
    assert encode(again) == encode(body)
    if isinstance(body, TelemetryBatch):
        for sample in body.samples:
            for value in store._sample_row(1, sample):
                _storable(value)
    else:
        for value in store._columns(body, 1, NOW).values():
            _storable(value)


def _check_state(followed: gateway.Received) -> None:
    before = VehicleState(VIN, "AURORA", "2.4.1")
    after = _consumer._apply(before, followed, NOW, gateway._Tally())
    for value in gateway._columns(after).values():
        _storable(value)


def _storable(value: Any) -> None:
    """Whether PostgreSQL takes it: no NUL, no lone surrogate, no number beyond its column."""
    for item in _leaves(getattr(value, "obj", value)):
        if isinstance(item, str):
            assert "\0" not in item
            item.encode()
        elif isinstance(item, float):
            assert math.isfinite(item)
        elif isinstance(item, int):
            assert -INT8 <= item < INT8


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in cast("dict[Any, Any]", value).items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from _leaves(item)
    else:
        yield value


def one_input(data: bytes) -> None:
    """The first byte chooses the topic."""
    if data:
        check(TOPICS[data[0] % len(TOPICS)], data[1:])


def seed(folder: Path) -> None:
    """Write a corpus of good messages, and the dictionary beside the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, payload in good().items():
        for index, topic in enumerate(TOPICS):
            if topic.endswith(f"/{name}"):
                (folder / f"{name}-{index}").write_bytes(bytes([index]) + payload)
    words = "".join(f'"{word}"\n' for word in WORDS)
    folder.with_suffix(".dict").write_text(words, encoding="utf-8")
