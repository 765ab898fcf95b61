"""The due-work scan: turns, timers, planned starts and ends, and what a crash left unpublished."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from uuid import UUID

from structlog.contextvars import bound_contextvars

import core.log
from core.contracts.bus import Command
from core.contracts.jobs import Notify
from core.errors import Unavailable
from core.jobs import defer
from ota_engine import activations, notices
from ota_engine.delivery import TimerRang, Turn, decide
from ota_engine.metrics import IN_FLIGHT
from ota_engine.model import Direction
from ota_engine.repository import Due, Repository
from ota_engine.steps import carry_out
from ota_engine.unit import Engine, Unit

log = core.log.get(__name__)

_AWAY_S = 1.0  # between tries while the database does not answer


class Scan:
    """Looks for due work at every interval, and at once when ``engine.work`` is set.

    Any number of replicas may run it: a vehicle is one transaction at a time, rows another one
    has are skipped, and what is found twice is not due the second time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._limit = asyncio.Semaphore(engine.settings.scan_concurrency)

    async def run(self, stop: asyncio.Event) -> None:
        """Scan until ``stop``; a database that is away is waited for."""
        loop = asyncio.get_running_loop()
        next_housekeeping = loop.time()
        while not stop.is_set():
            self._engine.work.clear()
            try:
                if loop.time() >= next_housekeeping:
                    next_housekeeping = loop.time() + self._settings.scan_interval_s
                    await self.keep_house()
                if await self.due():
                    continue  # there may be more, or it made more due
            except Unavailable as error:
                log.warning("scan interrupted", error=str(error))
                await asyncio.sleep(_AWAY_S)
            except Exception:
                log.exception("scan failed")
                await asyncio.sleep(_AWAY_S)
            await self._rest(stop)

    async def _rest(self, stop: asyncio.Event) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._engine.work, stop)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.scan_interval_s):
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def due(self) -> int:
        """One batch of everything that is due; how much of it moved on."""
        now = self._engine.clock.now()
        async with self._engine.database.transaction() as conn:
            repo = Repository(conn)
            times = await repo.due_activations(now, self._settings.scan_batch)
            deliveries = await repo.due_deliveries(now, self._settings.scan_batch)
        moved = await self._each(times, self._time_is_due)
        return moved + await self._each(deliveries, self._delivery_is_due)

    async def keep_house(self) -> None:
        """Publish what is still unpublished, close what was never answered, send notices."""
        now = self._engine.clock.now()
        async with self._engine.database.transaction() as conn:
            repo = Repository(conn)
            unpublished = await repo.claim_unpublished(
                now,
                now + timedelta(seconds=self._settings.publish_timeout_s),
                self._settings.scan_batch,
            )
            await repo.sweep_unanswered(now, self._settings.scan_batch)
            IN_FLIGHT.set(await repo.count_in_flight())
        await self._notify_expiring()
        # The cars at once, or a broker that does not answer would cost the time limit for each
        # command; a car's own in their order, for it takes no number below one it has seen.
        by_vin: dict[str, list[Command]] = {}
        for command in sorted(unpublished, key=lambda command: command.seq):
            by_vin.setdefault(command.vin, []).append(command)
        await asyncio.gather(*map(self._publish_again, by_vin.values()))

    async def _publish_again(self, commands: Sequence[Command]) -> None:
        for command in commands:
            log.info("publishing again", vin=command.vin, command_id=str(command.command_id))
            await self._engine.publisher.publish(command)

    async def _notify_expiring(self) -> None:
        settings = self._settings
        async with self._engine.database.transaction() as conn:
            claimed = await Repository(conn).claim_expiring(
                {
                    "now": self._engine.clock.now(),
                    "long_s": settings.expiry_notice_long_s,
                    "short_s": settings.expiry_notice_short_s,
                    "long_over_days": settings.expiry_notice_long_over_days,
                    "batch": settings.scan_batch,
                }
            )
            for row in claimed:
                await defer(
                    conn,
                    Notify(
                        event=notices.EXPIRING,
                        dedupe_key=f"{notices.EXPIRING}:{row.activation_id}:{row.expires_at}",
                        customer_id=row.customer_id,
                        vin=row.vin,
                        activation_id=row.activation_id,
                        data={
                            "service_code": row.service_code,
                            "expires_at": row.expires_at.isoformat(),
                        },
                    ),
                )

    async def _each(
        self, found: Sequence[Due], act: Callable[[Unit, UUID], Awaitable[bool]]
    ) -> int:
        return sum(await asyncio.gather(*(self._one(due, act) for due in found)))

    async def _one(self, due: Due, act: Callable[[Unit, UUID], Awaitable[bool]]) -> bool:
        moved = False

        async def work(unit: Unit) -> None:
            nonlocal moved
            moved = await act(unit, due.id)

        async with self._limit:
            with bound_contextvars(vin=due.vin):
                try:
                    return await self._engine.run(due.vin, work, wait=False) and moved
                except Unavailable:
                    raise
                except Exception:
                    # It stays due and is tried again; the others must not wait for it.
                    log.exception("due work failed", id=str(due.id))
                    return False

    async def _time_is_due(self, unit: Unit, activation_id: UUID) -> bool:
        await activations.time_is_due(unit, activation_id)
        return True

    async def _delivery_is_due(self, unit: Unit, delivery_id: UUID) -> bool:
        delivery = await unit.repo.delivery(delivery_id)
        if delivery is None or delivery.due_at is None or delivery.due_at > unit.now:
            return False
        vehicle = await unit.repo.vehicle(delivery.vin)
        if delivery.state == "WAITING" and delivery.direction != Direction.CORRECTION:
            await unit.repo.yield_corrections(delivery.vin, unit.now)
        if delivery.state != "WAITING":
            event = TimerRang(vehicle)
        elif await unit.repo.vehicle_busy(delivery.vin):
            return False
        else:
            conflict = False
            if delivery.is_on:
                activation = await unit.repo.activation(delivery.of_activation)
                conflict = await unit.repo.in_use_elsewhere(activation)
            event = Turn(vehicle, conflict)
        decision = decide(delivery, event, unit.now, unit.policy)
        await carry_out(unit, delivery, decision, vehicle=vehicle)
        return True
