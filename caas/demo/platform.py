"""Brings the demo up in order: database, broker, partners, services, fleet."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import httpx

from caas import embedded_pg
from caas.brokers import BrokerPlan, Doors, plan_broker
from caas.brokers.reload import reload_on_change
from caas.database import migrate_database
from caas.demo.layout import HOST, Layout, Pace, reserved_ports
from caas.demo.prepare import FleetVehicle, prepare_platform
from caas.demo.secrets import load_or_make
from caas.supervisor.child import Child, EventHandler
from caas.supervisor.errors import StoppedEarly
from caas.supervisor.lock import Lock, stop_leftovers
from caas.supervisor.ready import Ready, all_of, http_ok, tcp
from caas.supervisor.supervisor import Supervisor
from core.settings import DatabaseSettings, load

Prefer = Literal["auto", "mosquitto", "amqtt"]
PREFIX = "caas/v1/vehicles"
SERVICE_ORDER = ("partner-sims", "gateway", "ota-engine", "telemetry", "api", "worker", "sim")
# Beside Mosquitto.
LOG_READER = "broker-log"
# The story kills a part at each of its turns, a few seconds apart.
MAX_QUICK_DEATHS = 20
RESTART_QUIET_S = 3.0
# What of the platform a service cannot be ready without.
NEEDS = {
    "partner-sims": (),
    "gateway": ("postgres", "broker"),
    "ota-engine": ("postgres", "broker"),
    "telemetry": ("postgres", "broker"),
    "api": ("postgres",),
    "worker": ("postgres", "partner-sims"),
    "sim": ("broker", "gateway"),
    # Reads the broker's log, which is there with the broker or without.
    "broker-log": (),
}


@dataclass(frozen=True)
class Running:
    """A platform that is up: its layout, its fleet, and the supervisor that keeps it up."""

    layout: Layout
    supervisor: Supervisor
    broker: BrokerPlan
    database: embedded_pg.EmbeddedPostgres
    fleet: Sequence[FleetVehicle]

    @property
    def service_names(self) -> tuple[str, ...]:
        """Every process a test may kill."""
        return ("postgres", "broker", *SERVICE_ORDER)


@asynccontextmanager
async def platform(
    data_dir: Path,
    *,
    vehicles: int,
    pace: Pace,
    prefer: Prefer = "auto",
    on_event: EventHandler | None = None,
) -> AsyncGenerator[Running]:
    """Start everything and stop it at the end of the block; StartFailed says what did not start.

    StoppedEarly where a stop signal came before everything was up.
    ``data_dir`` is absolute: the services are told of files below it.
    """
    up = False
    async with Supervisor(data_dir, on_event=on_event) as supervisor:
        with reserved_ports(data_dir) as ports:
            running = await _bring_up(supervisor, data_dir, ports, vehicles, pace, prefer)
            reloading = asyncio.create_task(_reload(running))
            up = True
            try:
                yield running
            finally:
                reloading.cancel()
                await asyncio.gather(reloading, return_exceptions=True)
    if not up:
        raise StoppedEarly(supervisor.stopped_by)


async def _bring_up(
    supervisor: Supervisor,
    data_dir: Path,
    ports: Mapping[str, int],
    vehicles: int,
    pace: Pace,
    prefer: Prefer,
) -> Running:
    cluster = await asyncio.to_thread(embedded_pg.prepare, data_dir, port=ports["postgres"])
    await supervisor.start_all([replace(cluster.child(), max_quick_deaths=MAX_QUICK_DEATHS)])
    secrets = load_or_make(data_dir / "secrets.json")
    layout = Layout(data_dir, ports, secrets, pace, cluster.dsn, protocol="5")
    await migrate_database(load(DatabaseSettings, dsn=cluster.dsn))
    fleet = await prepare_platform(layout, vehicles)
    broker = plan_broker(
        data_dir,
        host=HOST,
        port=ports["mqtt"],
        passwords=layout.passwords_file,
        prefix=PREFIX,
        prefer=prefer,
        doors=_doors(layout),
    )
    layout = Layout(data_dir, ports, secrets, pace, cluster.dsn, broker.protocol)
    running = Running(layout, supervisor, broker, cluster.info, fleet)
    await supervisor.start_all(
        [_broker_child(running), *(service_child(layout, name) for name in _services(broker))]
    )
    await _stock_the_lot(layout, fleet)
    return running


def erase(data_dir: Path) -> None:
    """Remove everything a demo has made; AlreadyRunning where it is not stopped."""
    if not data_dir.exists():
        return
    lock = Lock(data_dir)
    try:
        stop_leftovers(data_dir)
        embedded_pg.erase(data_dir)
        shutil.rmtree(data_dir)
    finally:
        lock.release()


def _doors(layout: Layout) -> Doors:
    ports = layout.ports
    return Doors(
        plain=ports["mqtt-vehicles"],
        certificates=ports["mqtt-certificates"],
        secrets=ports["mqtt-secrets"],
        ca_dir=layout.ca_dir,
        log=layout.broker_log,
    )


def _services(broker: BrokerPlan) -> tuple[str, ...]:
    return (*SERVICE_ORDER, LOG_READER) if broker.name == "mosquitto" else SERVICE_ORDER


def _broker_child(running: Running) -> Child:
    plan, layout = running.broker, running.layout
    return Child(
        "broker",
        plan.argv,
        env=_environment(plan.env),
        ready=tcp(HOST, layout.ports["mqtt"]),
        needs=("postgres",),
        max_quick_deaths=MAX_QUICK_DEATHS,
    )


def service_child(layout: Layout, service: str) -> Child:
    """A service of the platform as a supervisor's child."""
    return Child(
        service,
        layout.argv(service),
        env=_environment(layout.environment(service)),
        ready=_ready(layout, service),
        needs=NEEDS[service],
        start_deadline_s=60.0,
        max_quick_deaths=MAX_QUICK_DEATHS,
    )


def _ready(layout: Layout, service: str) -> Ready:
    port = "partners" if service == "partner-sims" else service
    healthy = http_ok(f"{layout.url(port)}/healthz")
    if service == "partner-sims":
        return all_of(healthy, tcp(HOST, layout.ports["smtp"]))
    return healthy


def _environment(settings: dict[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("CAAS_")}
    # A child's log is read while it runs.
    return {**own, "PYTHONUNBUFFERED": "1", **settings}


async def _reload(running: Running) -> None:
    plan = running.broker

    def pid() -> int | None:
        return running.supervisor.pid("broker")

    if plan.reload_on is not None:
        await reload_on_change(plan.reload_on, pid)
    elif plan.restart_on is not None:
        # The supervisor starts it anew; a fleet that is being enrolled is one restart.
        await reload_on_change(plan.restart_on, pid, number=signal.SIGTERM, quiet_s=RESTART_QUIET_S)


async def _stock_the_lot(layout: Layout, fleet: Sequence[FleetVehicle]) -> None:
    """Tell the factory which cars stand built on its lot: the fleet's that nobody has bought."""
    by_model: dict[str, list[str]] = {}
    for vehicle in fleet:
        by_model.setdefault(vehicle.model, []).append(vehicle.vin)
    async with httpx.AsyncClient(base_url=layout.url("partners"), trust_env=False) as client:
        for model, vins in by_model.items():
            body: dict[str, Any] = {"platform": model, "vins": vins}
            answer = await client.post("/factory/_control/vin-pool", json=body)
            answer.raise_for_status()
