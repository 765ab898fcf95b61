"""The gateway service: its parts around one database, one bus and one HTTP server."""

import asyncio
from collections.abc import Sequence

from core.bus import Bus
from core.bus.open import open_bus
from core.bus.start import BusHolder, start_bus
from core.clock import SystemClock
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
from gateway import links
from gateway.accounts import part as accounts
from gateway.accounts.settings import AccountsSettings
from gateway.broker_stats import part as broker_stats
from gateway.commands import part as commands
from gateway.consumer import Consumer, subscriptions
from gateway.dispatch import part as dispatch
from gateway.dispatch.settings import DispatchSettings
from gateway.foreign import part as foreign
from gateway.foreign.settings import ForeignSettings
from gateway.http import make_app
from gateway.iot_api import callbacks
from gateway.iot_api import part as iot_api
from gateway.iot_api.settings import IotApiSettings
from gateway.parts import Gateway, Part
from gateway.presence import part as presence
from gateway.registry import part as registry
from gateway.settings import GatewaySettings, PresenceSettings
from gateway.wanted import part as wanted
from gateway.wanted.settings import WantedSettings


def parts(gateway: Gateway, settings: GatewaySettings, silence: PresenceSettings) -> list[Part]:
    """Every concern of the gateway; followers run in this order."""
    return [
        registry.part(gateway, settings),
        accounts.part(gateway, load(AccountsSettings)),
        presence.part(gateway, settings, silence),
        commands.part(gateway, settings.checkpoint_every_s),
        links.part(gateway),
        dispatch.part(gateway, load(DispatchSettings), on_end=[callbacks.put, wanted.take_over]),
        iot_api.part(gateway, load(IotApiSettings)),
        # After dispatch: what a report proves is wanted before it is compared.
        wanted.part(gateway, load(WantedSettings)),
        foreign.part(gateway, load(ForeignSettings)),
        broker_stats.part(gateway),
    ]


async def run(stop: asyncio.Event) -> None:
    """Run the service until ``stop``."""
    settings, silence = load(GatewaySettings), load(PresenceSettings)
    ops, jobs = load(OpsSettings), load(JobSettings)
    database = Database(load(DatabaseSettings), role="caas_gateway", service="caas-gateway")
    gateway = Gateway(
        database, SystemClock(), BusHolder(), load(BusSettings), load(SigningSettings)
    )
    made = parts(gateway, settings, silence)
    # Not waited for: whatever needs the database waits for it, and the health page says so.
    await database.pool.open(wait=False)
    app = make_app(
        gateway.signing.keys_file,
        {"database": database.ping, "bus": gateway.bus.check},
        made,
    )
    handlers = {kind: handler for part in made for kind, handler in part.jobs.items()}
    worker = JobWorker(database, "gateway", handlers, jobs)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(HttpServer(app, ops.host, ops.port).run(stop))
            group.create_task(worker.run(stop))
            for part in made:
                for loop in part.loops:
                    group.create_task(loop(stop))
            group.create_task(_consume(gateway, settings, silence, made, stop))
    finally:
        await database.close()


async def _consume(
    gateway: Gateway,
    settings: GatewaySettings,
    silence: PresenceSettings,
    made: Sequence[Part],
    stop: asyncio.Event,
) -> None:
    bus_settings = gateway.bus_settings

    def make() -> Bus:
        return open_bus(
            bus_settings,
            client_id=f"caas-gateway-{bus_settings.slot}",
            subscriptions=subscriptions(bus_settings.prefix),
        )

    bus = await start_bus(make, stop, gateway.bus)
    if bus is None:
        return
    consumer = Consumer(
        gateway.database,
        bus,
        prefix=bus_settings.prefix,
        settings=settings,
        presence=silence,
        clock=gateway.clock,
        followers=[follower for part in made for follower in part.followers],
        batch_followers=[follower for part in made for follower in part.batch_followers],
        change_followers=[follower for part in made for follower in part.change_followers],
        telemetry_takers=[taker for part in made for taker in part.telemetry_takers],
    )
    try:
        await consumer.run(stop)
    finally:
        await bus.close()
