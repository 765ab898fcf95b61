"""Received messages in batches, by size or time: for consumers that commit many at once."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import tenacity
from prometheus_client import Counter

import core.log
from core.bus.port import Bus, Message

log = core.log.get(__name__)

INTERRUPTIONS = Counter(
    "caas_bus_batch_interruptions", "Commits of received messages that had to be repeated"
)
_LONGEST_WAIT_S = 3.0

T = TypeVar("T")
R = TypeVar("R")


async def batches(
    bus: Bus,
    stop: asyncio.Event,
    *,
    convert: Callable[[Message], T],
    weigh: Callable[[T], int],
    most: int,
    wait_s: float,
    drain_s: float = 5.0,
) -> AsyncIterator[list[T]]:
    """Batches of converted messages: closed at a weight of ``most``, or ``wait_s`` after the first.

    A receive window smaller than ``most`` never fills a batch, so time closes it as well. After
    ``stop``, what has been received already still comes out, for at most ``drain_s``.
    ``convert`` must not raise.
    """
    loop = asyncio.get_running_loop()
    source = bus.messages()
    drain_until: float | None = None
    while True:
        if stop.is_set() and drain_until is None:
            drain_until = loop.time() + drain_s
        first = await _next(source, stop)
        if first is None or (drain_until is not None and loop.time() > drain_until):
            return
        item = convert(first)
        batch, weight = [item], weigh(item)
        try:
            async with asyncio.timeout(0.0 if stop.is_set() else wait_s):
                while weight < most:
                    item = convert(await anext(source))
                    batch.append(item)
                    weight += weigh(item)
        except (TimeoutError, StopAsyncIteration):
            pass
        yield batch


async def _next(source: AsyncIterator[Message], stop: asyncio.Event) -> Message | None:
    """The next message; None once the bus is closed, or ``stop`` is set and none is there."""
    getting = asyncio.ensure_future(_one(source))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({getting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        # One turn of the loop more: what is there already comes out though `stop` is set.
        await asyncio.sleep(0)
        return getting.result() if getting.done() else None
    finally:
        getting.cancel()
        stopping.cancel()


async def _one(source: AsyncIterator[Message]) -> Message | None:
    return await anext(source, None)


async def commit(
    batch: Sequence[T],
    write: Callable[[Sequence[T]], Awaitable[R]],
    stop: asyncio.Event,
    *,
    is_content_error: Callable[[Exception], bool],
    refuse: Callable[[T, Exception], T],
) -> AsyncGenerator[tuple[Sequence[T], R]]:
    """Write a batch whatever it takes; yields each part that is committed, to be acknowledged.

    What an item's own content breaks is found by halving: the others are written, and the item
    again as what ``refuse`` makes of it. Anything else is waited for; only once ``stop`` is set is
    it raised, and what is not acknowledged the broker keeps.
    """
    try:
        written = await _patiently(batch, write, stop, is_content_error)
    except Exception as error:
        if not is_content_error(error):
            raise
        failed = error
    else:
        yield batch, written
        return
    if len(batch) == 1:
        log.warning("a message's effect cannot be stored", error=str(failed))
        refused = [refuse(batch[0], failed)]
        yield batch, await _patiently(refused, write, stop, lambda _error: False)
        return
    middle = len(batch) // 2
    for half in (batch[:middle], batch[middle:]):
        async for part in commit(
            half, write, stop, is_content_error=is_content_error, refuse=refuse
        ):
            yield part


async def _patiently(
    batch: Sequence[T],
    write: Callable[[Sequence[T]], Awaitable[R]],
    stop: asyncio.Event,
    is_content_error: Callable[[Exception], bool],
) -> R:
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(
            lambda error: isinstance(error, Exception) and not is_content_error(error)
        ),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=_LONGEST_WAIT_S),
        stop=lambda _state: stop.is_set(),
        before_sleep=_say_interrupted,
        reraise=True,
    ):
        with attempt:
            return await write(batch)
    raise AssertionError("unreachable")


def _say_interrupted(state: tenacity.RetryCallState) -> None:
    INTERRUPTIONS.inc()
    error = state.outcome.exception() if state.outcome is not None else None
    log.warning("a batch waits for the database", error=str(error), attempt=state.attempt_number)
