"""The body of a foreign API's answer, read strictly: pure."""

import json
import math
import re
from typing import Any, cast

from core.contracts.bus import MAX_INTEGER

# No answer of the contract is nested deeper than eight.
_MAX_DEPTH = 32
_UNWANTED = re.compile(r"[\x00\ud800-\udfff]")


class _Unfit(ValueError):
    """JSON, but nothing that a column or a message on the bus could carry."""


def read_body(raw: bytes) -> dict[str, Any]:
    """The JSON object that ``raw`` is; an empty one where it is none, or not of any contract.

    Numbers are finite, and integers within JSON's interoperable ones (RFC 8259, section 6). NUL and
    half surrogate pairs in texts become the replacement character: those are legal in JSON, and
    neither PostgreSQL nor UTF-8 can carry them.
    """
    try:
        body: Any = _cleaned(json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse), 0)
    except (ValueError, RecursionError):  # a UnicodeDecodeError and a JSONDecodeError are the first
        return {}
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}


def clean_text(text: str) -> str:
    """``text`` without what neither PostgreSQL nor UTF-8 can carry."""
    return _UNWANTED.sub("\ufffd", text)


def _refuse(constant: str) -> None:
    raise _Unfit(f"{constant} is not JSON")


def _cleaned(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise _Unfit("nested too deeply")
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {clean_text(name): _cleaned(item, depth + 1) for name, item in members.items()}
    if isinstance(value, list):
        return [_cleaned(item, depth + 1) for item in cast("list[Any]", value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise _Unfit("a number without end")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise _Unfit("an integer beyond 2^53")
    return value
