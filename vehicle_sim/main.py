"""The simulator as a service: a fleet on the bus, and its control over HTTP."""

import asyncio
from collections.abc import Callable

import httpx
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from core.bus import Bus, OnConnect, Subscription, Will, open_bus
from core.clock import SystemClock
from core.contracts.topics import Topic, topic_of
from core.ops import HttpServer, add_ops_routes
from core.settings import BusSettings, OpsSettings, load
from vehicle_sim.control import add_error_shape, control_router
from vehicle_sim.fleet import Fleet
from vehicle_sim.keys import KeyRing, fetch_from
from vehicle_sim.settings import SimSettings
from vehicle_sim.tally import Tally
from vehicle_sim.vehicle import OpenBus, World

SERVICE = "sim"
# A vehicle gets few messages; a small window keeps ten thousand of them small.
RECEIVE_MAX = 20


def vehicle_bus(settings: BusSettings) -> OpenBus:
    """How a vehicle signs in: client id and user name are its VIN, topics its own two (BUS)."""

    def open_for(vin: str, secret: str, will: Callable[[], Will], on_connect: OnConnect) -> Bus:
        downward = (Topic.CMD, Topic.STORED)
        return open_bus(
            settings,
            client_id=vin,
            subscriptions=[Subscription(topic_of(settings.prefix, vin, t)) for t in downward],
            will=will,
            username=vin,
            password=secret,
            on_connect=on_connect,
            receive_max=RECEIVE_MAX,
            role="vehicle",
        )

    return open_for


async def run(stop: asyncio.Event) -> None:
    """Serve until ``stop``."""
    settings, bus, ops = load(SimSettings), load(BusSettings), load(OpsSettings)
    async with httpx.AsyncClient(trust_env=False) as client:
        tally = Tally()
        keys = KeyRing(fetch_from(settings.keys_url, client))
        world = World(settings, bus.prefix, vehicle_bus(bus), keys, SystemClock(), tally)
        fleet = Fleet(world)
        app = build_app(fleet, tally, keys)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fleet.run(stop))
            tasks.create_task(keys.keep_trying(stop))
            tasks.create_task(HttpServer(app, ops.host, ops.port).run(stop))


def build_app(fleet: Fleet, tally: Tally, keys: KeyRing) -> FastAPI:
    """The ops routes and the control API."""
    app = FastAPIOffline(title="CaaS vehicle simulator", docs_url="/docs", redoc_url=None)
    add_ops_routes(app, SERVICE, {"fleet": fleet.check, "command keys": keys.check})
    add_error_shape(app)
    app.include_router(control_router(fleet, tally))
    return app
