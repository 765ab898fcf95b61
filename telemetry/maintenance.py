"""What keeps the store in order: partitions ahead of time, receipts nobody asks for any more."""

import asyncio
import contextlib
from datetime import timedelta

import core.log
from core.clock import Clock
from core.db import Database
from core.errors import DomainError
from telemetry.known import QUERIES, KnownDays
from telemetry.settings import TelemetrySettings

log = core.log.get(__name__)


async def maintain(
    database: Database, days: KnownDays, settings: TelemetrySettings, clock: Clock
) -> None:
    """One round: the partitions of yesterday to ``days_ahead``; receipts past the oldest sample."""
    now = clock.now()
    await days.ensure((now + timedelta(days=n)).date() for n in range(-1, settings.days_ahead + 1))
    async with database.transaction() as conn:
        await conn.execute(
            QUERIES["forget_receipts"], {"before": now - timedelta(days=settings.oldest_days)}
        )


async def keep_maintained(
    database: Database,
    days: KnownDays,
    settings: TelemetrySettings,
    clock: Clock,
    stop: asyncio.Event,
) -> None:
    """A round at once and then every so often, until ``stop``."""
    storage: str | None = None
    while not stop.is_set():
        wait_s = settings.maintenance_every_s
        try:
            if storage is None:
                async with database.transaction() as conn:
                    storage = await conn.value(QUERIES["storage"])
                log.info("samples are kept in", storage=storage)
            await maintain(database, days, settings, clock)
        except DomainError as error:
            log.warning("maintenance interrupted", error=str(error))
            wait_s = 1.0
        except Exception:
            log.exception("maintenance failed")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), wait_s)
