"""The regular look over all vehicles: silence makes OFFLINE, gauges are set, the log is pruned."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta

import core.log
from core.clock import Clock
from core.contracts.bus import Presence
from core.db import Database, load_queries
from core.errors import DomainError
from gateway import metrics
from gateway.settings import PresenceSettings

log = core.log.get(__name__)
QUERIES = load_queries("gateway.presence")


@dataclass(frozen=True, slots=True)
class _Count:
    presence: str
    vehicles: int


async def scan(database: Database, presence: PresenceSettings, clock: Clock) -> int:
    """One look; the number of vehicles that fell silent (DOMAIN 8)."""
    now = clock.now()
    since = now - timedelta(seconds=presence.silence_s + presence.silence_grace_s)
    silenced = 0
    while True:
        async with database.transaction() as conn:
            found = await conn.execute(QUERIES["silence"], {"since": since, "now": now})
        silenced += found
        if found == 0:
            break
    metrics.SILENCED.inc(silenced)
    async with database.transaction() as conn:
        counts = await conn.all(_Count, QUERIES["count_by_presence"])
        metrics.UNSTABLE.set(await conn.value(QUERIES["count_unstable"], {"now": now}))
        before = now - timedelta(days=presence.log_keep_days)
        await conn.execute(QUERIES["prune_log"], {"before": before})
    vehicles = {count.presence: count.vehicles for count in counts}
    for state in Presence:
        metrics.VEHICLES.labels(state.value).set(vehicles.get(state.value, 0))
    return silenced


async def keep_scanning(
    database: Database,
    presence: PresenceSettings,
    clock: Clock,
    every_s: float,
    stop: asyncio.Event,
) -> None:
    """A look every so often until ``stop``, through every absence of the database."""
    while not stop.is_set():
        try:
            await scan(database, presence, clock)
        except DomainError as error:
            log.warning("scan interrupted", error=str(error))
        except Exception:
            log.exception("scan failed")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every_s)
