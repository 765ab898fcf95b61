"""One transaction of the engine on one vehicle, and what may only follow once it is committed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.clock import Clock
from core.contracts.bus import Command
from core.contracts.jobs import Job
from core.db import Database
from core.jobs import defer
from ota_engine.delivery import Policy
from ota_engine.publisher import Publisher
from ota_engine.repository import Repository
from ota_engine.settings import OtaSettings


@dataclass(slots=True)
class Unit:
    """What a step works on: the rows, the moment, and a list of what follows the commit."""

    repo: Repository
    now: datetime
    settings: OtaSettings
    policy: Policy
    outgoing: list[Command] = field(default_factory=list[Command])
    committed: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    wake: bool = False

    async def defer(self, job: Job) -> None:
        """Put a job in its queue, in this transaction."""
        await defer(self.repo.conn, job)

    def after_commit(self, act: Callable[[], None]) -> None:
        """Count it only if it really happened."""
        self.committed.append(act)


Work = Callable[[Unit], Awaitable[None]]


class Engine:
    """Opens units: lock the vehicle, work, commit, and only then publish (house rules 3 and 4)."""

    def __init__(
        self, database: Database, publisher: Publisher, settings: OtaSettings, clock: Clock
    ) -> None:
        self.database = database
        self.publisher = publisher
        self.settings = settings
        self.clock = clock
        # Set when something became due at once, so that the scan need not wait for its interval.
        self.work = asyncio.Event()
        self.policy = policy_of(settings)

    async def run(self, vin: str, work: Work, *, wait: bool = True) -> bool:
        """Run ``work`` as the only transaction on ``vin``; then publish what it left to publish.

        ``wait=False`` gives up (False) where another one has the vehicle.
        """
        async with self.database.transaction() as conn:
            unit = Unit(Repository(conn), self._now(), self.settings, self.policy)
            if wait:
                await unit.repo.lock_vehicle(vin)
            elif not await unit.repo.try_lock_vehicle(vin):
                return False
            await work(unit)
        for act in unit.committed:
            act()
        if unit.wake:
            self.work.set()
        for command in unit.outgoing:
            await self.publisher.publish(command)
        return True

    def _now(self) -> datetime:
        """Whole milliseconds, as the bus writes times: a car must hold the very moment we keep."""
        now = self.clock.now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


def policy_of(settings: OtaSettings) -> Policy:
    """The part of the settings that decisions depend on."""
    return Policy(
        settings.retry,
        settings.command_timeout,
        settings.status_timeout,
        timedelta(seconds=settings.defer_max_s),
        timedelta(seconds=settings.defer_recheck_s),
        timedelta(seconds=settings.check_poll_s),
    )
