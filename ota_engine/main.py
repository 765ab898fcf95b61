"""The OTA engine as a process: its bus, its jobs, its scan, its health page."""

import asyncio

from fastapi import FastAPI

import core.log
from core.bus import Bus, Subscription
from core.bus.open import open_bus
from core.bus.start import BusHolder, start_bus
from core.clock import SystemClock
from core.contracts.topics import filter_of
from core.db import Database
from core.jobs import JobWorker
from core.keys import KeyFile
from core.ops import HttpServer, add_ops_routes
from core.settings import (
    BusSettings,
    DatabaseSettings,
    JobSettings,
    OpsSettings,
    SigningSettings,
    load,
)
from ota_engine.inbox import KINDS, Inbox
from ota_engine.jobs import JobHandlers
from ota_engine.publisher import Publisher
from ota_engine.scan import Scan
from ota_engine.settings import OtaSettings
from ota_engine.unit import Engine

log = core.log.get(__name__)

SERVICE = "ota-engine"
GROUP = "ota"
# A scan that still waits for the broker or the database then is cut: what it committed is
# published at the next start.
SCAN_ENDS_S = 3.0


async def run(stop: asyncio.Event) -> None:
    """Run until ``stop``; SettingsError before anything starts, else nothing ends it."""
    ota, ops = load(OtaSettings), load(OpsSettings)
    bus_settings, jobs = load(BusSettings), load(JobSettings)
    keys = KeyFile(load(SigningSettings).keys_file)
    keys.load()
    database = Database(load(DatabaseSettings), role="caas_ota", service=SERVICE)
    # Not waited for: whatever needs the database waits for it, and the health page says so.
    await database.pool.open(wait=False)
    holder, clock = BusHolder(), SystemClock()
    app = FastAPI(title="CaaS OTA engine", docs_url=None, redoc_url=None, openapi_url=None)
    add_ops_routes(app, SERVICE, {"database": database.ping, "bus": holder.check})

    async def work() -> None:
        bus = await start_bus(lambda: _bus(bus_settings), stop, holder)
        if bus is None:
            return
        publisher = Publisher(
            bus, database, keys, bus_settings.prefix, ota.publish_timeout_s, clock
        )
        try:
            engine = Engine(database, publisher, ota, clock)
            await _work(engine, bus, bus_settings.prefix, jobs, stop)
        finally:
            await bus.close()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(HttpServer(app, ops.host, ops.port).run(stop))
            group.create_task(work())
    finally:
        await database.close()


def _bus(settings: BusSettings) -> Bus:
    return open_bus(
        settings,
        client_id=f"caas-ota-{settings.slot}",
        subscriptions=[Subscription(filter_of(settings.prefix, kind), GROUP) for kind in KINDS],
        role="engine",
    )


async def _work(
    engine: Engine, bus: Bus, prefix: str, jobs: JobSettings, stop: asyncio.Event
) -> None:
    worker = JobWorker(engine.database, "ota", JobHandlers(engine).table(), jobs)
    async with asyncio.TaskGroup() as group:
        inbox = group.create_task(Inbox(engine, bus, prefix).run())
        scan = group.create_task(Scan(engine).run(stop))
        group.create_task(worker.run(stop))
        log.info("engine started")
        await stop.wait()
        inbox.cancel()
        await asyncio.wait({scan}, timeout=SCAN_ENDS_S)
        scan.cancel()
