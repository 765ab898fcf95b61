"""One task for each client that is sent something, so that none waits for another."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import core.log
from core.ending import cancel_until_done
from core.errors import DomainError

log = core.log.get(__name__)

T = TypeVar("T")


class Lanes:
    """Serves clients side by side: ``serve`` gets a client's name, and ends when it has no more."""

    def __init__(self, serve: Callable[[str], Awaitable[None]]) -> None:
        self._serve = serve
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, client_ids: Sequence[str]) -> None:
        """Serve those that are not being served."""
        for client_id in client_ids:
            if client_id not in self._tasks:
                task = asyncio.create_task(self._run(client_id), name=f"iot client {client_id}")
                self._tasks[client_id] = task

    async def close(self) -> None:
        """End every task, whatever it waits for."""
        await cancel_until_done(list(self._tasks.values()))

    async def _run(self, client_id: str) -> None:
        try:
            await self._serve(client_id)
        except DomainError as error:
            log.warning("sending interrupted", client_id=client_id, error=str(error))
        except Exception:
            log.exception("sending failed", client_id=client_id)
        finally:
            del self._tasks[client_id]


async def repeat(
    stop: asyncio.Event, every_s: float, name: str, turn: Callable[[], Awaitable[None]]
) -> None:
    """Call ``turn`` every ``every_s`` seconds until ``stop``, through whatever goes wrong in it."""
    while not stop.is_set():
        try:
            await turn()
        except DomainError as error:
            log.warning("interrupted", what=name, error=str(error))
        except Exception:
            log.exception("failed", what=name)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every_s)


async def side_by_side(items: Sequence[T], most: int, send: Callable[[T], Awaitable[None]]) -> None:
    """Call ``send`` with each, ``most`` at once; cancelled, none of them goes on."""
    waiting = deque(items)

    async def work() -> None:
        while waiting:
            await send(waiting.popleft())

    async with asyncio.TaskGroup() as group:
        for _ in range(min(most, len(items))):
            group.create_task(work())
