"""Periodic work inside the worker: each piece runs on one replica at a time."""

import asyncio
import contextlib
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import core.log
from core.db import Connection, Database, load_queries

log = core.log.get(__name__)
_SQL = load_queries("api")


@dataclass(frozen=True, slots=True)
class Periodic:
    """``run`` every ``seconds``, inside a transaction that it neither opens nor commits."""

    name: str
    seconds: float
    run: Callable[[Connection], Awaitable[None]]


async def every(database: Database, work: Periodic, stop: asyncio.Event) -> None:
    """Run ``work`` until ``stop``; a failed turn is logged and the next one comes."""
    while not stop.is_set():
        try:
            await run_once(database, work)
        except Exception as error:
            log.warning("periodic work failed", work=work.name, error=str(error), exc_info=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), work.seconds)


async def run_once(database: Database, work: Periodic) -> bool:
    """One turn; False where another replica is at it."""
    async with database.transaction() as conn:
        key = zlib.crc32(work.name.encode())
        if not await conn.value(_SQL["try_lock"], {"key": key}):
            return False
        await work.run(conn)
    return True
