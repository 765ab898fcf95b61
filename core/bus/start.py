"""Starting a service's bus when the broker may not be there, or not know the account yet."""

import asyncio
import contextlib
import random
from collections.abc import Callable

import core.log
from core.bus.port import Bus, BusRefused, BusUnavailable

log = core.log.get(__name__)

_LONGEST_WAIT_S = 5.0


class BusHolder:
    """The service's present bus, for its health check."""

    def __init__(self) -> None:
        self.bus: Bus | None = None

    async def check(self) -> None:
        """BusUnavailable where it is not connected."""
        if self.bus is None:
            raise BusUnavailable("no connection to the broker")
        if not self.bus.connected:
            raise BusUnavailable(f"no connection to the broker: {self.bus.trouble}")


async def start_bus(make: Callable[[], Bus], stop: asyncio.Event, holder: BusHolder) -> Bus | None:
    """A started bus, however long that takes; None where ``stop`` came first.

    A broker that refuses the account is asked again: accounts reach it through a file the gateway
    writes, so a broker and a service that start together may be a moment apart.
    """
    attempt = 0
    while not stop.is_set():
        bus = holder.bus = make()
        starting = asyncio.create_task(bus.start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            starting.cancel()
            raise
        finally:
            stopping.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            await bus.close()
            return None
        error = starting.exception()
        if error is None:
            return bus
        await bus.close()
        if not isinstance(error, BusRefused):
            raise error
        attempt += 1
        delay_s = random.uniform(0, min(_LONGEST_WAIT_S, 0.25 * 2 ** min(attempt, 8)))  # noqa: S311 - jitter
        log.warning("the broker refuses this service", reason=error.reason, attempt=attempt)
        await _wait(stop, delay_s)
    return None


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
