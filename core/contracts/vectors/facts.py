"""Digests, telemetry good and bad, and sequences of presence, with what is to come of them."""

import base64
import hashlib
import json
from datetime import timedelta
from typing import Any

from core.clock import rfc3339
from core.contracts.bus import MAX_INTEGER
from core.contracts.examples import NOW, VIN
from core.contracts.topics import MAX_PAYLOAD_BYTES

OLDEST_DAYS = 90
NOW_MS = int(NOW.timestamp() * 1000)
_DAY_MS = 86_400_000


def digests() -> dict[str, Any]:
    """The content of digests.json; the digested text is written by hand, not computed."""
    return {
        "about": "ReportedConfig's values, the text that is digested, and its SHA-256.",
        "cases": [
            _digest("none", "", []),
            _digest("a text", 'A.p="HIGH"', [("A", "p", "HIGH")]),
            _digest("order is by line", "A.a=1\nA.b=2\nB.a=3",
                    [("B", "a", 3), ("A", "b", 2), ("A", "a", 1)]),
            _digest("a whole number", "A.p=4", [("A", "p", 4)]),
            _digest("a whole number with a fraction", "A.p=4", [("A", "p", 4.0)]),
            _digest("a fraction", "A.p=0.5", [("A", "p", 0.5)]),
            _digest("a name that another begins with: order is still by line", "A.p2=1\nA.p=1",
                    [("A", "p", 1), ("A", "p2", 1)]),
            _digest("a small number", "A.p=0.000001", [("A", "p", 0.000001)]),
            _digest("a tiny number", "A.p=1e-7", [("A", "p", 1e-7)]),
            _digest("a large fraction", "A.p=123456789.125", [("A", "p", 123456789.125)]),
            _digest("a huge number", "A.p=1.5e+21", [("A", "p", 1.5e21)]),
            _digest("zero below zero", "A.p=0", [("A", "p", -0.0)]),
            _digest("below zero", "A.p=-3", [("A", "p", -3)]),
            _digest("true is not 1", "A.p=true", [("A", "p", True)]),
            _digest("false is not 0", "A.p=false", [("A", "p", False)]),
            _digest("a number in a text", 'A.p="4"', [("A", "p", "4")]),
            _digest("unicode is not escaped", 'A.p="España €"', [("A", "p", "España €")]),
            _digest("beyond the first plane", 'A.p="\U0001f697"', [("A", "p", "\U0001f697")]),
            _digest("escapes", 'A.p="a\\"b\\\\c\\nd\\te"', [("A", "p", 'a"b\\c\nd\te')]),
            _digest("control characters",
                    'A.p="\\u0001\\b\\f\\r\x7f"', [("A", "p", "\x01\b\f\r\x7f")]),
            _digest("a slash is not escaped", 'A.p="a/b"', [("A", "p", "a/b")]),
            _digest("upper case sorts first", "A.Z=1\nA.a=2", [("A", "a", 2), ("A", "Z", 1)]),
        ],
    }  # fmt: skip


def telemetry() -> dict[str, Any]:
    """The content of telemetry.json."""
    t = NOW_MS
    return {
        "about": "Payloads of telemetry; reason is the quarantine's, null where it is stored.",
        "vin": VIN,
        "now": rfc3339(NOW),
        "oldest_days": OLDEST_DAYS,
        "max_payload_bytes": MAX_PAYLOAD_BYTES,
        "cases": [
            _telemetry("least", _batch({"t": t})),
            _telemetry("full", _batch({"t": t, "speed_kmh": 87.5, "state": "RUNNING",
                                       "lat": 40.4168, "lon": -3.7038, "extra": {"a_kpa": 241}})),
            _telemetry("days old", _batch({"t": t - 5 * _DAY_MS})),
            _telemetry("not in order", _batch({"t": t}, {"t": t - 1000})),
            _telemetry("an unknown member", _batch({"t": t, "colour": "red"})),
            _telemetry("null is missing", _batch({"t": t, "soc_pct": None})),
            _telemetry("ahead by a day", _batch({"t": t + _DAY_MS})),
            _telemetry("500 samples", _batch(*[{"t": t - i} for i in range(500)])),
            _telemetry("501 samples", _batch(*[{"t": t - i} for i in range(501)]), "MALFORMED"),
            _telemetry("no samples", _batch(), "MALFORMED"),
            _telemetry("no t", _batch({"speed_kmh": 1.0}), "MALFORMED"),
            _telemetry("no boot", {"n": 1, "samples": [{"t": t}]}, "MALFORMED"),
            _telemetry("n below zero", {"boot": 1, "n": -1, "samples": [{"t": t}]}, "MALFORMED"),
            _telemetry("boot beyond 2^53 - 1",
                       {"boot": MAX_INTEGER + 1, "n": 1, "samples": [{"t": t}]}, "MALFORMED"),
            _telemetry("a text for a number", _batch({"t": t, "speed_kmh": "87"}), "MALFORMED"),
            _telemetry("an unknown state", _batch({"t": t, "state": "FLYING"}), "MALFORMED"),
            _telemetry("extra is numbers only", _batch({"t": t, "extra": {"a": "b"}}), "MALFORMED"),
            _telemetry("an array", [], "MALFORMED"),
            _telemetry("empty", "", "NOT_JSON"),
            _telemetry("no JSON", "hello", "NOT_JSON"),
            _telemetry("cut off", '{"boot": 17, "n": 5, "samp', "NOT_JSON"),
            _telemetry("not UTF-8", b'{"boot":1,"n":1,"samples":[{"t":1,"extra":{"\xff":1}}]}',
                       "NOT_JSON"),
            _telemetry("ahead by a day and 1 ms", _batch({"t": t + _DAY_MS + 1}),
                       "FROM_THE_FUTURE"),
            _telemetry("older than the oldest", _batch({"t": t - OLDEST_DAYS * _DAY_MS - 1}),
                       "TOO_OLD"),
            _telemetry("as large as may be", _batch({"t": t}), pad_to=MAX_PAYLOAD_BYTES),
            _telemetry("too large", _batch({"t": t}), "TOO_LARGE", pad_to=MAX_PAYLOAD_BYTES + 1),
        ],
    }  # fmt: skip


def presence() -> dict[str, Any]:
    """The content of presence.json: messages as they arrive, and where the vehicle then is."""
    first, first_ends = _said("ONLINE", "one", 0), _said("OFFLINE", "one", 0)
    second, second_ends = _said("ONLINE", "two", 60), _said("OFFLINE", "two", 60)
    rebooted = _said("ONLINE", "three", -3600, boot=18)
    before_boot = _said("ONLINE", "two", 60, boot=17)
    return {
        "about": "Presence by session: after each message, who is on.",
        "cases": [
            _sequence("here and gone", (first, "ONLINE one"), (first_ends, "OFFLINE one")),
            _sequence("a late will of the session before", (first, "ONLINE one"),
                      (second, "ONLINE two"), (first_ends, "ONLINE two")),
            _sequence("the same will twice", (first, "ONLINE one"), (first_ends, "OFFLINE one"),
                      (second, "ONLINE two"), (first_ends, "ONLINE two"),
                      (first_ends, "ONLINE two")),
            _sequence("an end is final", (first, "ONLINE one"), (first_ends, "OFFLINE one"),
                      (first, "OFFLINE one")),
            _sequence("the end before its beginning", (first_ends, "OFFLINE one"),
                      (first, "OFFLINE one")),
            _sequence("the session before, late", (second, "ONLINE two"), (first, "ONLINE two")),
            _sequence("the last session ends", (first, "ONLINE one"), (second, "ONLINE two"),
                      (first_ends, "ONLINE two"), (second_ends, "OFFLINE two")),
            _sequence("a later boot counts though its clock went back", (second, "ONLINE two"),
                      (rebooted, "ONLINE three"), (before_boot, "ONLINE three"),
                      (second_ends, "ONLINE three")),
        ],
    }  # fmt: skip


def _digest(name: str, text: str, values: list[tuple[str, str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "values": [{"module": m, "parameter": p, "value": value} for m, p, value in values],
        "text": text,
        "digest": hashlib.sha256(text.encode()).hexdigest(),
    }


def _batch(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"boot": 17, "n": 5120, "samples": list(samples)}


def _telemetry(
    name: str, content: Any, reason: str | None = None, pad_to: int = 0
) -> dict[str, Any]:
    case: dict[str, Any] = {"name": name, "reason": reason}
    if isinstance(content, bytes):
        return case | {"payload_base64": base64.b64encode(content).decode()}
    if not isinstance(content, str):
        content = json.dumps(content, separators=(",", ":"))
    return case | {"payload": content} | ({"pad_to": pad_to} if pad_to else {})


def _said(state: str, session: str, after_s: float, boot: int = 17) -> dict[str, Any]:
    at = rfc3339(NOW + timedelta(seconds=after_s))
    return {"state": state, "at": at, "session": session, "boot": boot}


def _sequence(name: str, *steps: tuple[dict[str, Any], str]) -> dict[str, Any]:
    made: list[dict[str, Any]] = []
    for message, then in steps:
        state, _, session = then.partition(" ")
        made.append({"message": message, "presence": state, "session": session})
    return {"name": name, "steps": made}
