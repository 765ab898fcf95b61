"""The telemetry service: ingestor, maintenance, health and metrics."""

import asyncio
from datetime import timedelta

from fastapi import FastAPI

import core.log
from core.bus import Bus
from core.bus.open import open_bus
from core.bus.start import BusHolder, start_bus
from core.clock import Clock, SystemClock
from core.db import Database
from core.ops import HttpServer, add_ops_routes
from core.settings import BusSettings, DatabaseSettings, OpsSettings, load
from telemetry.decode import Reader
from telemetry.ingest import Ingestor, subscriptions
from telemetry.known import KnownDays
from telemetry.maintenance import keep_maintained
from telemetry.settings import TelemetrySettings

log = core.log.get(__name__)


async def run(stop: asyncio.Event) -> None:
    """Run the service until ``stop``."""
    bus_settings, settings = load(BusSettings), load(TelemetrySettings)
    ops, clock = load(OpsSettings), SystemClock()
    database = Database(load(DatabaseSettings), role="caas_telemetry", service="caas-telemetry")
    # Not waited for: whatever needs the database waits for it, and the health page says so.
    await database.pool.open(wait=False)
    holder = BusHolder()
    app = FastAPI(title="CaaS telemetry", docs_url=None, redoc_url=None, openapi_url=None)
    add_ops_routes(app, "telemetry", {"database": database.ping, "bus": holder.check})
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(HttpServer(app, ops.host, ops.port).run(stop))
            group.create_task(keep_maintained(database, KnownDays(database), settings, clock, stop))
            group.create_task(_ingest(database, bus_settings, settings, clock, holder, stop))
    finally:
        await database.close()


async def _ingest(
    database: Database,
    bus_settings: BusSettings,
    settings: TelemetrySettings,
    clock: Clock,
    holder: BusHolder,
    stop: asyncio.Event,
) -> None:
    def make() -> Bus:
        return open_bus(
            bus_settings,
            client_id=f"caas-telemetry-{bus_settings.slot}",
            subscriptions=subscriptions(bus_settings.prefix),
            receive_max=settings.receive_max,
        )

    bus = await start_bus(make, stop, holder)
    if bus is None:
        return
    reader = Reader(bus_settings.prefix, timedelta(days=settings.oldest_days))
    ingestor = Ingestor(
        database,
        bus,
        prefix=bus_settings.prefix,
        reader=reader,
        settings=settings,
        clock=clock,
    )
    try:
        await ingestor.run(stop)
    finally:
        await bus.close()
