"""Foreign IoT APIs in the process: commands in, calls and looks out, callbacks in (DOMAIN 9)."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta

import core.log
from core.bus import Bus
from core.bus.open import open_bus
from core.bus.start import BusHolder, start_bus
from core.errors import DomainError
from gateway.foreign import metrics
from gateway.foreign.apis import ForeignApi, api_of, load_apis, read_secret
from gateway.foreign.breaker import Breaker
from gateway.foreign.client import ForeignClient
from gateway.foreign.intake import Intake, subscriptions
from gateway.foreign.repository import QUERIES
from gateway.foreign.settings import ForeignSettings
from gateway.foreign.webhooks import Webhooks
from gateway.foreign.worker import Worker
from gateway.parts import Gateway, Part

log = core.log.get(__name__)


_ADOPT_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class _Known:
    vin: str
    api: str | None
    known: bool


class News:
    """Wakes every worker of this process."""

    def __init__(self) -> None:
        self._events: list[asyncio.Event] = []

    def event(self) -> asyncio.Event:
        """One more to be woken."""
        made = asyncio.Event()
        self._events.append(made)
        return made

    def wake(self) -> None:
        """There is something to do."""
        for event in self._events:
            event.set()


def part(gateway: Gateway, settings: ForeignSettings) -> Part:
    """The foreign APIs' part of the gateway; nothing where CAAS_FOREIGN_APIS_FILE names none.

    SettingsError where the file or a secret cannot be used.
    """
    apis = load_apis(settings.apis_file)
    if not apis:
        return Part()
    secrets = {
        api.name: read_secret(api.callback_secret_file)
        for api in apis
        if api.callback_secret_file is not None
    }
    news, holder = News(), BusHolder()
    webhooks = Webhooks(gateway, settings, apis, secrets, holder, news.wake)

    async def bridge(stop: asyncio.Event) -> None:
        bus = await _start(gateway, settings, holder, stop)
        if bus is None:
            return
        try:
            await _work(gateway, settings, apis, bus, news, stop)
        finally:
            await bus.close()

    async def adopt(stop: asyncio.Event) -> None:
        await keep_adopting(gateway, settings, apis, news, stop)

    return Part(routers=[webhooks.router()], loops=(bridge, adopt))


async def _start(
    gateway: Gateway, settings: ForeignSettings, holder: BusHolder, stop: asyncio.Event
) -> Bus | None:
    bus_settings = gateway.bus_settings
    password = settings.mqtt_password

    def make() -> Bus:
        return open_bus(
            bus_settings,
            client_id=f"caas-bridge-{bus_settings.slot}",
            subscriptions=subscriptions(bus_settings.prefix),
            username=settings.mqtt_username,
            password=None if password is None else password.get_secret_value(),
        )

    return await start_bus(make, stop, holder)


async def _work(
    gateway: Gateway,
    settings: ForeignSettings,
    apis: list[ForeignApi],
    bus: Bus,
    news: News,
    stop: asyncio.Event,
) -> None:
    async with contextlib.AsyncExitStack() as clients, asyncio.TaskGroup() as group:
        workers = [Worker(gateway, settings, None, bus, news.event())]
        for api in apis:
            client = make_client(gateway, settings, api)
            clients.push_async_callback(client.close)
            workers.append(Worker(gateway, settings, client, bus, news.event()))
        await _free_slot(gateway, stop)
        group.create_task(Intake(gateway, settings, apis, news.wake).run(bus, stop))
        for worker in workers:
            group.create_task(worker.run(stop))


async def _free_slot(gateway: Gateway, stop: asyncio.Event) -> None:
    """Take back what this slot's process had in hand when it was killed."""
    while not stop.is_set():
        try:
            async with gateway.database.transaction() as conn:
                freed = await conn.execute(
                    QUERIES["free_slot"], {"slot": gateway.bus_settings.slot}
                )
            if freed:
                log.info("taking up what was left in hand", vehicles=freed)
            return
        except DomainError as error:
            log.warning("foreign vehicles wait for the database", error=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)


def make_client(gateway: Gateway, settings: ForeignSettings, api: ForeignApi) -> ForeignClient:
    """A client with a breaker of its own."""
    breaker = Breaker(
        failures=settings.breaker_failures,
        window_s=settings.breaker_window_s,
        open_s=settings.breaker_open_s,
    )
    return ForeignClient(api, gateway.clock, breaker)


async def keep_adopting(
    gateway: Gateway,
    settings: ForeignSettings,
    apis: list[ForeignApi],
    news: News,
    stop: asyncio.Event,
) -> None:
    """Take up newly enrolled vehicles, and forget what is long over, until ``stop``."""
    whole = True  # the file may have changed since the last start
    while not stop.is_set():
        try:
            if await adopt(gateway, settings, apis, whole=whole):
                news.wake()
            whole = False
        except DomainError as error:
            log.warning("foreign vehicles were not looked for", error=str(error))
        except Exception:
            log.exception("foreign vehicles were not looked for")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), settings.adopt_every_s)


async def adopt(
    gateway: Gateway, settings: ForeignSettings, apis: list[ForeignApi], *, whole: bool = False
) -> int:
    """One look; how many vehicles are new or, of the ``whole`` registry, have another API now."""
    now = gateway.clock.now()
    before = now - timedelta(days=settings.keep_days)
    query = QUERIES["all_foreign"] if whole else QUERIES["new_foreign"]
    async with gateway.database.transaction() as conn:
        found = await conn.all(_Known, query)
    # Patterns times vehicles: too much for the event loop, and for an open transaction.
    changed = await asyncio.to_thread(_changed, found, apis)
    for start in range(0, len(changed), _ADOPT_AT_ONCE):
        part = changed[start : start + _ADOPT_AT_ONCE]
        async with gateway.database.transaction() as conn:
            vins, names = [vin for vin, _ in part], [name for _, name in part]
            await conn.execute(QUERIES["adopt"], {"vins": vins, "apis": names, "now": now})
    async with gateway.database.transaction() as conn:
        await conn.execute(QUERIES["forget_commands"], {"before": before})
        await conn.execute(QUERIES["forget_callbacks"], {"before": before})
        unsaid = await conn.value(QUERIES["count_unsaid"])
        unassigned = await conn.value(QUERIES["count_unassigned"])
    metrics.UNASSIGNED.set(unassigned)
    metrics.UNSAID.set(unsaid)
    return len(changed)


def _changed(found: list[_Known], apis: list[ForeignApi]) -> list[tuple[str, str | None]]:
    """Vehicles that are not known, or have another API, in the order of the VIN."""
    wanted = [(row, api_of(row.vin, apis)) for row in found]
    return sorted((row.vin, api) for row, api in wanted if not row.known or row.api != api)
