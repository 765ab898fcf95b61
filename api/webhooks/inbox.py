"""Signed webhooks: the signature, and the inbox that keeps each message once."""

import hashlib
import hmac
import json
import re
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from core.db import Connection, load_queries

_SQL = load_queries("api.webhooks")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def is_signed(body: bytes, secret: str, signature: str | None) -> bool:
    """True where ``signature`` is the HMAC-SHA256 of ``body`` in hex; compared in constant time."""
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = (signature or "").encode("utf-8", "replace")
    return hmac.compare_digest(expected.encode(), given)


def read_json(body: bytes) -> Any:
    """The body's JSON; ValueError where it is none, or none that the database can keep."""
    try:
        content = json.loads(body, parse_constant=_no_number)
        text = json.dumps(content, ensure_ascii=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    text.encode()  # A lone surrogate is a UnicodeEncodeError, which is a ValueError.
    if _NUL.search(text):
        raise ValueError("a text holds the character NUL")
    return content


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


async def take(conn: Connection, *, source: str, message_id: str, body: Any, now: datetime) -> bool:
    """Keep a message; False where it was taken before, and is not to be worked off again."""
    rows = await conn.execute(
        _SQL["take"],
        {"source": source, "message_id": message_id, "body": Jsonb(body), "at": now},
    )
    return rows == 1
