"""Which services there are, where each one starts, and every settings group they read."""

import asyncio
import faulthandler
import importlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import core.log
from core.ending import end_leftovers
from core.errors import DomainError, Invalid
from core.ops import stop_on_signals
from core.settings import LogSettings, SettingsGroup, check_unknown, load

log = core.log.get(__name__)

# A supervisor kills after 10 s; under one that does not, a service ends by itself.
_STOP_LIMIT_S = 30.0
_STUCK = 70  # EX_SOFTWARE of sysexits.h

Run = Callable[[asyncio.Event], Awaitable[None]]

# Rooms are imported only when their service runs: `caas --help` must not wait for them.
_SETTINGS_MODULES = (
    "core.settings",
    "caas.settings",
    "caas.brokers.settings",
    "gateway.settings",
    "gateway.accounts.settings",
    "gateway.registry.settings",
    "gateway.dispatch.settings",
    "gateway.iot_api.settings",
    "gateway.wanted.settings",
    "gateway.foreign.settings",
    "ota_engine.settings",
    "telemetry.settings",
    "api.settings",
    "vehicle_sim.settings",
    "partner_sims.settings",
)


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the platform; ``entry`` is ``module:coroutine function`` of the stop event."""

    name: str
    about: str
    entry: str


SERVICES = {
    service.name: service
    for service in (
        Service("gateway", "vehicle registry, presence, command keys", "gateway.main:run"),
        Service("ota-engine", "delivers what was bought, or sees to it that nobody pays",
                "ota_engine.main:run"),
        Service("telemetry", "stores status, health and telemetry", "telemetry.main:run"),
        Service("api", "the REST API", "api.main:run_api"),
        Service("worker", "the API's deferred work: orders, payments, notices",
                "api.main:run_worker"),
        Service("partner-sims", "factory, payment gateway, VSS, authorities and mail, simulated",
                "partner_sims.main:run"),
        Service("broker-log", "who was refused at the MQTT broker, from its log",
                "caas.brokers.denials:run"),
        Service("sim", "a fleet of simulated vehicles", "vehicle_sim.main:run"),
    )
}  # fmt: skip


def find(name: str) -> Service:
    """The service of that name, or Invalid with the names there are."""
    try:
        return SERVICES[name]
    except KeyError:
        known = ", ".join(SERVICES)
        raise Invalid("UNKNOWN_SERVICE", f"no service {name!r}; there are {known}") from None


def settings_groups() -> list[type[SettingsGroup]]:
    """Every settings group of the platform."""
    for module in _SETTINGS_MODULES:
        importlib.import_module(module)
    found: list[type[SettingsGroup]] = []
    waiting = list(SettingsGroup.__subclasses__())
    while waiting:
        group = waiting.pop(0)
        found.append(group)
        waiting.extend(group.__subclasses__())
    return sorted(found, key=lambda group: group.model_config.get("env_prefix", ""))


def run_service(service: Service) -> None:
    """Run a service until SIGTERM or SIGINT; SettingsError before anything starts."""
    check_unknown(settings_groups())
    core.log.configure(service.name, load(LogSettings))
    module, _, name = service.entry.partition(":")
    run = cast("Run", getattr(importlib.import_module(module), name))
    # A service that hangs shows where: SIGABRT, or a stop that takes too long.
    faulthandler.enable()
    asyncio.run(_run(run))


async def _run(run: Run) -> None:
    stop = stop_on_signals()
    watching = asyncio.create_task(_limit(stop), name="stop limit")
    try:
        await run(stop)
    except* DomainError as refusals:
        refused = refusals
    else:
        return
    finally:
        watching.cancel()
        if not await end_leftovers():
            log.critical("ended by force", exc_info=True)
            os._exit(_STUCK)
    # One refusal ends a service, and a person is to read a line and not a group of tracebacks.
    raise _first(refused) from None


async def _limit(stop: asyncio.Event) -> None:
    await stop.wait()
    # A thread of its own, so it also ends a loop that is blocked from here on.
    faulthandler.dump_traceback_later(_STOP_LIMIT_S, exit=True)


def _first(group: BaseExceptionGroup[DomainError]) -> DomainError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
