"""Rate limits that hold across replicas: hits of a fixed minute, counted in the database."""

from datetime import UTC, datetime, timedelta

from core.db import Connection, Database, load_queries
from core.errors import TooMany

_SQL = load_queries("api")
_MINUTE_S = 60


async def count(conn: Connection, key: str, now: datetime) -> int:
    """Count one hit for ``key``; how many there are in this minute."""
    second = int(now.timestamp())
    start = datetime.fromtimestamp(second - second % _MINUTE_S, UTC)
    return int(await conn.value(_SQL["count_hit"], {"key": key, "window_start": start}))


async def hit(database: Database, key: str, *, limit: int, now: datetime) -> None:
    """Count one hit in a transaction of its own, kept whatever comes of the request; TooMany."""
    async with database.transaction() as conn:
        hits = await count(conn, key, now)
    if hits > limit:
        raise too_many(now)


def too_many(now: datetime) -> TooMany:
    """The refusal, which says when the next minute begins."""
    return TooMany("too many requests", _MINUTE_S - int(now.timestamp()) % _MINUTE_S)


async def forget(conn: Connection, now: datetime) -> None:
    """Drop the counts of minutes that are over."""
    await conn.execute(_SQL["forget_windows"], {"before": now - timedelta(minutes=10)})
