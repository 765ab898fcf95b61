"""Whatever arrives becomes facts or a refusal with its reason."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.bus import Message
from core.contracts.bus import MAX_INTEGER, TelemetryBatch
from core.contracts.topics import MAX_PAYLOAD_BYTES
from telemetry.decode import KINDS, Position, Reader

PREFIX = "caas/v1/vehicles"
VIN = "VF1AURXRA00000017"
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
READER = Reader(PREFIX, timedelta(days=90))


def read(payload: bytes | dict[str, Any], kind: str = "telemetry", topic: str | None = None):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return READER.read(Message(topic or f"{PREFIX}/{VIN}/{kind}", body), NOW)


def batch(**sample: Any) -> dict[str, Any]:
    return {"boot": 17, "n": 5, "samples": [{"t": NOW_MS, **sample}]}


def test_a_batch_becomes_facts() -> None:
    received = read(batch(speed_kmh=87.5, extra={"tyre_fl_kpa": 241}))
    assert isinstance(received.body, TelemetryBatch)
    assert received.body.samples[0].extra == {"tyre_fl_kpa": 241.0}
    assert (received.vin, received.rows, received.position) == (VIN, 1, Position(17, 5))


REFUSED: list[tuple[str, bytes | dict[str, Any], str]] = [
    ("empty", b"", "NOT_JSON"),
    ("text", b"hello", "NOT_JSON"),
    ("not UTF-8", b'{"boot":1,"n":1,"samples":[{"t":1,"extra":{"\xff":1}}]}', "NOT_JSON"),
    ("another shape", b"[]", "MALFORMED"),
    ("no samples", {"boot": 1, "n": 1, "samples": []}, "MALFORMED"),
    ("too many", {"boot": 1, "n": 1, "samples": [{"t": NOW_MS}] * 501}, "MALFORMED"),
    ("out of a double's range", b'{"boot":1,"n":1,"samples":[{"t":1,"soc_pct":1e400}]}',
     "MALFORMED"),
    ("out of a bigint's range", {**batch(), "boot": 10**30}, "MALFORMED"),
    ("a time out of range", batch(t=10**30), "MALFORMED"),
    ("NUL", batch(extra={"a\0": 1.0}), "MALFORMED"),
    ("nested", b'{"boot":1,"n":1,"samples":[{"t":1,"x":' + b"[" * 100_000, "MALFORMED"),
    ("too large", b" " * (MAX_PAYLOAD_BYTES + 1), "TOO_LARGE"),
    ("1970", batch(t=0), "TOO_OLD"),
    ("next year", batch(t=NOW_MS + 365 * 86_400_000), "FROM_THE_FUTURE"),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "reason"), [(p, r) for _, p, r in REFUSED],
                         ids=[name for name, _, _ in REFUSED])  # fmt: skip
def test_what_cannot_be_used_has_its_reason(payload: bytes | dict[str, Any], reason: str) -> None:
    received = read(payload)
    assert received.body is None
    assert received.refusal is not None
    assert received.refusal.reason == reason


def test_an_escaped_backslash_is_no_nul() -> None:
    assert read(batch(extra={"\\u0000": 1.0})).refusal is None


@pytest.mark.parametrize(
    "topic",
    [f"{PREFIX}/{VIN}/cmd", f"{PREFIX}/{VIN}/stored", f"{PREFIX}/{VIN}/x", f"{PREFIX}/short/status",
     f"other/{VIN}/status", f"{PREFIX}/{VIN.lower()}/status", "", "\0"],
)  # fmt: skip
def test_a_topic_that_is_none_is_refused(topic: str) -> None:
    received = read(b"{}", topic=topic) if topic else READER.read(Message("", b"{}"), NOW)
    assert received.refusal is not None
    assert received.refusal.reason == "BAD_TOPIC"


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("2026-11-25T08:00:00.001Z", "FROM_THE_FUTURE"),
        ("9999-12-31T23:59:59-12:00", "FROM_THE_FUTURE"),
        ("0001-01-01T00:00:00+12:00", "MALFORMED"),
        ("2026-11-24T08:00:00", "MALFORMED"),
    ],
)
def test_times_that_cannot_be(at: str, reason: str) -> None:
    presence = {"state": "ONLINE", "at": at, "session": "s", "boot": 1}
    received = read(presence, "presence")
    assert received.refusal is not None
    assert received.refusal.reason == reason


def test_a_refused_batch_keeps_its_name_so_that_its_vehicle_can_forget_it() -> None:
    assert read({**batch(), "samples": "none"}).position == Position(17, 5)
    assert read(batch(t=0)).position == Position(17, 5)
    assert read({"boot": -1, "n": 5, "samples": []}).position is None
    assert read({"boot": MAX_INTEGER + 1, "n": 5, "samples": []}).position is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["boot", "n", "samples", "t", "at", "session", "state", "values", "seq", "extra", "digest"]
)


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=300))
def test_bytes_never_raise(kind: str, payload: bytes) -> None:
    received = read(payload, kind)
    assert (received.body is None) != (received.refusal is None)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(KINDS)), st.dictionaries(FIELDS, JSON, max_size=6))
def test_json_never_raises(kind: str, payload: dict[str, Any]) -> None:
    received = read(json.dumps(payload).encode(), kind)
    assert (received.body is None) != (received.refusal is None)
