"""What every simulated partner shares: settings, clock, memory, faults, timers and the outbox."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from core.clock import Clock, rfc3339
from partner_sims.due import DueWork
from partner_sims.faults.service import Faults
from partner_sims.outbox import Outbox
from partner_sims.settings import PartnerSimsSettings
from partner_sims.store import Store


@dataclass(frozen=True)
class Sims:
    """The shared context; built once where the process starts."""

    settings: PartnerSimsSettings
    clock: Clock
    store: Store
    faults: Faults
    due: DueWork
    outbox: Outbox
    stop: asyncio.Event

    def now(self) -> datetime:
        return self.clock.now()

    def stamp(self) -> str:
        """The present moment as the contracts write it (RFC 3339, UTC)."""
        return rfc3339(self.clock.now())

    async def pause(self, delay_s: float) -> None:
        """Let ``delay_s`` seconds pass, or less if the process is to stop."""
        if delay_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), delay_s)


async def current(request: Request) -> Sims:
    """The context of the application that serves ``request``."""
    sims: Sims = request.app.state.sims
    return sims


SimsDep = Annotated[Sims, Depends(current)]
