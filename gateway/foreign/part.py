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
    while not stop.is_set():
        try:
            if await adopt(gateway, settings, apis):
                news.wake()
        except DomainError as error:
            log.warning("foreign vehicles were not looked for", error=str(error))
        except Exception:
            log.exception("foreign vehicles were not looked for")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), settings.adopt_every_s)


async def adopt(gateway: Gateway, settings: ForeignSettings, apis: list[ForeignApi]) -> int:
    """One look; how many vehicles are new or have another API now."""
    now = gateway.clock.now()
    before = now - timedelta(days=settings.keep_days)
    async with gateway.database.transaction() as conn:
        found = await conn.all(_Known, QUERIES["all_foreign"])
        wanted = {row.vin: api_of(row.vin, apis) for row in found}
        changed = [
            {"vin": row.vin, "api": wanted[row.vin], "now": now}
            for row in sorted(found, key=lambda row: row.vin)
            if not row.known or row.api != wanted[row.vin]
        ]
        if changed:
            await conn.execute_many(QUERIES["adopt"], changed)
        await conn.execute(QUERIES["forget_commands"], {"before": before})
        await conn.execute(QUERIES["forget_callbacks"], {"before": before})
        unsaid = await conn.value(QUERIES["count_unsaid"])
    metrics.UNASSIGNED.set(sum(api is None for api in wanted.values()))
    metrics.UNSAID.set(unsaid)
    return len(changed)
