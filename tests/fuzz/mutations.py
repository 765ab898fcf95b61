"""Messages that began as good ones: hypothesis strategies for what a broken vehicle may send."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from hypothesis import strategies as st

from core.contracts.topics import MAX_PAYLOAD_BYTES
from tests.fuzz.decoders import NOW, good, is_json

# JSON as text, for what no Python value can say.
TIMES = (
    '"9999-12-31T23:59:59.999-14:00"', '"0001-01-01T00:00:00Z"', '"2026-02-30T00:00:00Z"',
    '"1969-12-31T23:59:59Z"', '"2026-11-24T08:00:00"', '"2999-01-01T00:00:00Z"',
)  # fmt: skip
TEXTS = (
    '""', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfff\\ud800"', '"\\ud83d\\ude00"',
    '"' + "x" * 5_000 + '"', '"\\u202e"', '"ONLINE"', *TIMES,
)  # fmt: skip
NUMBERS = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1.7976931348623157e308", "1e-400", "-0.0",
    "1" * 400, "9223372036854775808", "-9223372036854775809", "9007199254740993", "-1", "0", "0.5",
    "253402300800000", "9007199254740991",
)  # fmt: skip
OTHERS = (
    "null", "true", "[]", "{}", "[null]", "[" * 300 + "]" * 300, '{"a":' * 300 + "1" + "}" * 300,
)  # fmt: skip
_HOLE = "@hole@"
BROKEN_TEXT = (
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf5\x80\x80\x80",
    b"\xef\xbb\xbf",
    b"\0",
    b"\\",
)


@dataclass(frozen=True)
class Sent:
    """One message: the last level of its topic, its bytes; hopeless where nobody can use it."""

    topic: str
    payload: bytes

    @property
    def hopeless(self) -> bool:
        return len(self.payload) > MAX_PAYLOAD_BYTES or not is_json(self.payload)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) there is inside a message."""
    found: list[tuple[Any, Any]] = []
    items = (
        cast("dict[Any, Any]", value).items()
        if isinstance(value, dict)
        else enumerate(cast("list[Any]", value))
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        found.append((value, key))
        found += _places(item)
    return found


def _odd_for(value: Any) -> st.SearchStrategy[str]:
    """Mostly of the value's own kind: what is of another is refused at once."""
    anything = TEXTS + NUMBERS + OTHERS
    if isinstance(value, str):
        own = TIMES if value.endswith("Z") else TEXTS
    else:
        own = NUMBERS if isinstance(value, int | float) else anything
    return st.sampled_from(own * (3 * len(anything) // len(own)) + anything)


@st.composite
def _odd_member(draw: st.DrawFn, text: bytes) -> bytes:
    """One value is replaced, removed, doubled under its name, or an unknown one is added."""
    message = json.loads(text)
    container, key = draw(st.sampled_from(_places(message)))
    odd = draw(_odd_for(container[key]))
    what = draw(st.sampled_from(("replace", "remove", "double", "unknown")))
    if what == "remove":
        del container[key]
    elif what == "replace" or isinstance(container, list):
        container[key] = _HOLE
    else:
        container["another" if what == "unknown" else f"{key}"] = container.pop(key, None)
        container[_HOLE + str(key)] = _HOLE
    written = json.dumps(message)
    for name in (f'"{_HOLE}{key}"', f'"{_HOLE}"'):
        written = written.replace(name, f'"{key}"' if name != f'"{_HOLE}"' else odd)
    return written.encode()


@st.composite
def _cut(draw: st.DrawFn, text: bytes) -> bytes:
    return text[: draw(st.integers(0, len(text) - 1))]


@st.composite
def _broken_bytes(draw: st.DrawFn, text: bytes) -> bytes:
    at = draw(st.integers(0, len(text)))
    length = draw(st.integers(0, 3))
    return text[:at] + draw(st.sampled_from(BROKEN_TEXT)) + text[at + length :]


@st.composite
def _huge(draw: st.DrawFn, text: bytes) -> bytes:
    size = MAX_PAYLOAD_BYTES + draw(st.sampled_from((-1, 0, 1, 1024)))
    if draw(st.booleans()):
        return text.ljust(size)
    return text[:-1] + b', "more": ' + b"[" * (size - len(text) - 10)


@st.composite
def messages(draw: st.DrawFn, now: datetime = NOW) -> Sent:
    """A good message of any kind, changed once or twice, or not at all, or another kind's."""
    kinds = good(now)
    topic = draw(st.sampled_from(sorted(kinds)))
    payload = kinds[draw(st.sampled_from([topic] * 8 + sorted(kinds)))]
    changes: list[Callable[[bytes], st.SearchStrategy[bytes]]]
    changes = [_odd_member] * 20 + [_cut, _broken_bytes] * 2 + [_huge]
    for _ in range(draw(st.integers(0, 2))):
        change = draw(st.sampled_from(changes))
        if change is _odd_member and not _is_object(payload):
            change = _broken_bytes
        if change is _cut and not payload:
            continue
        payload = draw(change(payload))
    return Sent(topic, payload)


def _is_object(payload: bytes) -> bool:
    try:
        return bool(payload) and len(payload) < 100_000 and bool(_places(json.loads(payload)))
    except (ValueError, RecursionError):
        return False
