"""Works off what is due of one API's vehicles: a few at a time, each one's own matters in order.

A vehicle's turn is claimed with a lease, so that any number of replicas may work; it says what is
to be said, takes one step (a command's, or a look at the vehicle), and says what came of it. No
transaction is open while the API or the broker is waited for.
"""

import asyncio
import contextlib
from datetime import timedelta

import core.log
from core.bus import Bus, BusUnavailable, PublishFailed
from core.contracts.topics import RETAINED, Topic, topic_of
from core.errors import DomainError
from gateway.foreign import metrics, repository
from gateway.foreign.client import ForeignClient
from gateway.foreign.repository import QUERIES
from gateway.foreign.settings import ForeignSettings
from gateway.foreign.steps import Steps
from gateway.parts import Gateway

log = core.log.get(__name__)

_PUBLISH_S = 10.0
# Of vehicles that no API has: they only have something to say.
NO_API = "none"


class Worker:
    """One API's vehicles. ``client`` None: those that no API has."""

    def __init__(
        self,
        gateway: Gateway,
        settings: ForeignSettings,
        client: ForeignClient | None,
        bus: Bus,
        news: asyncio.Event,
    ) -> None:
        self._gateway = gateway
        self._settings = settings
        self._client = client
        self._bus = bus
        self._news = news
        self._name = None if client is None else client.api.name
        self._most = 4 if client is None else client.api.concurrency
        self._steps = None if client is None else Steps(gateway, settings, client)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``, then end the turns under way."""
        try:
            while not stop.is_set():
                self._news.clear()
                claimed = 0
                try:
                    claimed = await self._claim()
                except DomainError as error:
                    log.warning("foreign vehicles wait for the database", error=str(error))
                except Exception:
                    log.exception("foreign vehicles were not taken up")
                if not claimed:
                    await self._rest(stop)
        finally:
            if self._running:
                await asyncio.wait(self._running, timeout=self._settings.lease_s)

    async def _claim(self) -> int:
        most = self._most - len(self._running)
        if most < 1:
            return 0
        now = self._gateway.clock.now()
        until = now + timedelta(seconds=self._settings.lease_s)
        params = {
            "api": self._name,
            "now": now,
            "until": until,
            "most": most,
            "slot": self._gateway.bus_settings.slot,
        }
        async with self._gateway.database.transaction() as conn:
            rows = await conn.dicts(QUERIES["claim"], params)
        for row in rows:
            late = max(0.0, (now - row["due_at"]).total_seconds())
            metrics.LAG.labels(self._name or NO_API).set(late)
            task = asyncio.create_task(self.turn(row["vin"]))
            self._running.add(task)
            task.add_done_callback(self._ended)
        return len(rows)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._news.set()

    async def _rest(self, stop: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._news, stop)]
        await asyncio.wait(
            waits, timeout=self._settings.scan_every_s, return_when=asyncio.FIRST_COMPLETED
        )
        for wait in waits:
            wait.cancel()

    async def turn(self, vin: str) -> None:
        """One turn of a claimed vehicle; what fails is tried again at its next."""
        try:
            if await self.speak(vin) and self._steps is not None:
                await self._steps.one(vin)
                await self.speak(vin)
        except DomainError as error:
            log.warning("a foreign vehicle's turn was interrupted", vin=vin, error=str(error))
        except Exception:
            log.exception("a foreign vehicle's turn failed", vin=vin)
            await asyncio.sleep(self._settings.retry_s)  # a defect of ours must not spin
        with contextlib.suppress(DomainError):  # else the lease ends by itself
            await self._release(vin)

    async def _release(self, vin: str) -> None:
        now, slot = self._gateway.clock.now(), self._gateway.bus_settings.slot
        waits = self._settings.retry_s, self._settings.retry_max_s
        async with self._gateway.database.transaction() as conn:
            await repository.release(conn, vin, now, slot, *waits)

    async def speak(self, vin: str) -> bool:
        """Say on the bus what is to be said, in order; False where the broker does not take it.

        What it refuses is kept, and what follows waits: our account or the access rules are wrong,
        and nothing may be lost by that.
        """
        async with self._gateway.database.transaction() as conn:
            rows = await conn.dicts(QUERIES["messages"], {"vin": vin})
        if not rows:
            return True
        said: list[int] = []
        refused = False
        try:
            for row in rows:
                await self._publish(vin, Topic(row["topic"]), bytes(row["payload"]))
                said.append(row["message_id"])
        except BusUnavailable as error:
            log.warning("not said yet", vin=vin, error=str(error))
        except PublishFailed as error:
            refused = True
            metrics.REFUSED.labels(error.reason).inc()
            log.error("the broker refuses what a foreign vehicle says", vin=vin, error=str(error))
        async with self._gateway.database.transaction() as conn:
            if said:
                await conn.execute(QUERIES["said"], {"ids": said})
                await conn.execute(QUERIES["said_again"], {"vin": vin})
            if refused:
                await conn.execute(QUERIES["refused"], {"vin": vin})
        return len(said) == len(rows)

    async def _publish(self, vin: str, topic: Topic, payload: bytes) -> None:
        if not self._bus.connected:
            raise BusUnavailable("no connection to the broker")
        name = topic_of(self._gateway.bus_settings.prefix, vin, topic)
        await self._bus.publish(name, payload, retain=topic in RETAINED, timeout_s=_PUBLISH_S)
