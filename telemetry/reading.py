"""Reading the store, for the command line; other rooms read the views."""

from dataclasses import dataclass
from datetime import datetime

from core.db import Connection
from telemetry.known import QUERIES


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that could not be used, as it came."""

    id: int
    received_at: datetime
    topic: str
    payload: bytes
    reason: str
    detail: str


async def list_quarantine(
    conn: Connection, limit: int = 100, *, reason: str | None = None
) -> list[Quarantined]:
    """The newest quarantined messages first."""
    return await conn.all(
        Quarantined, QUERIES["list_quarantine"], {"limit": limit, "reason": reason}
    )
