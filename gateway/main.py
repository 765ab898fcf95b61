"""The gateway service: registry, password file, presence, command keys."""

import asyncio

import core.log
from core.bus import Bus
from core.bus.open import open_bus
from core.bus.start import BusHolder, start_bus
from core.clock import Clock, SystemClock
from core.contracts.jobs import EnrollVehicle
from core.db import Database
from core.jobs import JobWorker
from core.ops import HttpServer
from core.settings import (
    BusSettings,
    DatabaseSettings,
    JobSettings,
    OpsSettings,
    SigningSettings,
    load,
)
from gateway.consumer import Consumer, subscriptions
from gateway.http import make_app
from gateway.passwords import keep_password_file
from gateway.registry import enroll
from gateway.scan import keep_scanning
from gateway.settings import GatewaySettings, PresenceSettings

log = core.log.get(__name__)


async def run(stop: asyncio.Event) -> None:
    """Run the service until ``stop``."""
    settings, presence = load(GatewaySettings), load(PresenceSettings)
    bus_settings, ops, clock = load(BusSettings), load(OpsSettings), SystemClock()
    signing, jobs = load(SigningSettings), load(JobSettings)
    database = Database(load(DatabaseSettings), role="caas_gateway", service="caas-gateway")
    # Not waited for: whatever needs the database waits for it, and the health page says so.
    await database.pool.open(wait=False)
    holder = BusHolder()
    app = make_app(signing.keys_file, {"database": database.ping, "bus": holder.check})
    worker = JobWorker(database, "gateway", {EnrollVehicle: _enroller(database)}, jobs)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(HttpServer(app, ops.host, ops.port).run(stop))
            group.create_task(_keep_passwords(database, settings, stop))
            group.create_task(worker.run(stop))
            group.create_task(keep_scanning(database, presence, clock, settings.scan_every_s, stop))
            group.create_task(
                _consume(database, bus_settings, settings, presence, clock, holder, stop)
            )
    finally:
        await database.close()


def _enroller(database: Database):
    async def enroll_vehicle(job: EnrollVehicle) -> None:
        # Nobody is there to be shown a secret: `caas vehicles rotate` makes one.
        async with database.transaction() as conn:
            await enroll(
                conn,
                vin=job.vin,
                model=job.model,
                firmware=job.firmware,
                transport=job.transport,
                credential=False,
            )

    return enroll_vehicle


async def _keep_passwords(
    database: Database, settings: GatewaySettings, stop: asyncio.Event
) -> None:
    if settings.password_file is None:
        log.info("no password file to write: CAAS_GATEWAY_PASSWORD_FILE is not set")
        return
    keeping = asyncio.create_task(
        keep_password_file(
            database,
            settings.password_file,
            settings.accounts_file,
            settings.password_recheck_s,
        )
    )
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    keeping.cancel()
    await asyncio.wait({keeping})
    if not keeping.cancelled():
        keeping.result()


async def _consume(
    database: Database,
    bus_settings: BusSettings,
    settings: GatewaySettings,
    presence: PresenceSettings,
    clock: Clock,
    holder: BusHolder,
    stop: asyncio.Event,
) -> None:
    def make() -> Bus:
        return open_bus(
            bus_settings,
            client_id=f"caas-gateway-{bus_settings.slot}",
            subscriptions=subscriptions(bus_settings.prefix),
        )

    bus = await start_bus(make, stop, holder)
    if bus is None:
        return
    consumer = Consumer(
        database,
        bus,
        prefix=bus_settings.prefix,
        settings=settings,
        presence=presence,
        clock=clock,
    )
    try:
        await consumer.run(stop)
    finally:
        await bus.close()
