"""Batches of received messages, their commit, and a service's patience with its broker."""

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.bus import Bus, Message, Subscription
from core.bus.batches import batches, commit
from core.bus.memory import MemoryBroker, MemoryBus
from core.bus.start import BusHolder, start_bus
from core.errors import Unavailable

FOREVER_S = 3600.0
DEADLINE_S = 20.0


async def receiver(broker: MemoryBroker, messages: int) -> MemoryBus:
    """A bus with that many messages received."""
    bus = MemoryBus(broker, "receiver", subscriptions=[Subscription("t")])
    await bus.start()
    for number in range(messages):
        await bus.publish("t", str(number).encode())
    return bus


def number_of(message: Message) -> int:
    return int(message.payload)


async def collect(
    bus: Bus, stop: asyncio.Event, *, most: int, wait_s: float, until: int
) -> list[list[int]]:
    found: list[list[int]] = []
    async for batch in batches(
        bus, stop, convert=number_of, weigh=lambda _: 2, most=most, wait_s=wait_s
    ):
        found.append(batch)
        if sum(map(len, found)) >= until:
            break
    return found


async def test_weight_closes_a_batch() -> None:
    bus = await receiver(MemoryBroker(), 6)
    found = await asyncio.wait_for(
        collect(bus, asyncio.Event(), most=4, wait_s=FOREVER_S, until=6), DEADLINE_S
    )
    assert found == [[0, 1], [2, 3], [4, 5]]
    await bus.close()


async def test_time_closes_a_batch() -> None:
    bus = await receiver(MemoryBroker(), 3)
    found = await asyncio.wait_for(
        collect(bus, asyncio.Event(), most=1000, wait_s=0.01, until=3), DEADLINE_S
    )
    assert found == [[0, 1, 2]]
    await bus.close()


async def test_what_was_received_comes_out_after_stop() -> None:
    bus = await receiver(MemoryBroker(), 5)
    stop = asyncio.Event()
    stop.set()
    found = await asyncio.wait_for(
        collect(bus, stop, most=4, wait_s=FOREVER_S, until=100), DEADLINE_S
    )
    assert list(itertools.chain(*found)) == [0, 1, 2, 3, 4]
    await bus.close()


async def test_stop_and_close_end_an_idle_wait() -> None:
    bus = await receiver(MemoryBroker(), 0)
    stop = asyncio.Event()
    for end in (stop.set, lambda: None):
        idle = asyncio.create_task(collect(bus, stop, most=4, wait_s=0.01, until=1))
        await asyncio.sleep(0)
        end()
        if end is not stop.set:
            await bus.close()
        assert await asyncio.wait_for(idle, DEADLINE_S) == []


class Table:
    """A store that refuses some numbers for their content, and is away for a while."""

    def __init__(self, bad: set[int], away: int = 0) -> None:
        self.bad = bad
        self.away = away
        self.rows: list[int] = []

    async def write(self, batch: Sequence[int]) -> int:
        if self.away > 0:
            self.away -= 1
            raise Unavailable("AWAY", "not there")
        if self.bad & set(batch):
            raise ValueError("bad content")
        self.rows.extend(batch)
        return len(batch)


async def write_all(table: Table, batch: list[int], stop: asyncio.Event) -> list[int]:
    parts = commit(
        batch,
        table.write,
        stop,
        is_content_error=lambda error: isinstance(error, ValueError),
        refuse=lambda number, _error: -number,
    )
    return [item async for part, _ in parts for item in part]


@given(st.sets(st.integers(1, 40)))
def test_bad_content_holds_up_nothing_and_is_refused_alone(bad: set[int]) -> None:
    table = Table(bad)
    batch = list(range(1, 41))
    acknowledged = asyncio.run(write_all(table, batch, asyncio.Event()))
    assert acknowledged == batch
    assert sorted(table.rows) == sorted(-n if n in bad else n for n in batch)


async def test_a_store_that_is_away_is_waited_for_until_stop() -> None:
    table = Table(set(), away=2)
    assert await write_all(table, [1, 2], asyncio.Event()) == [1, 2]
    stop = asyncio.Event()
    stop.set()
    with pytest.raises(Unavailable):
        await write_all(Table(set(), away=1), [1], stop)


async def test_a_refused_account_is_tried_again() -> None:
    accounts: dict[str, str] = {}
    broker = MemoryBroker(accounts=accounts)
    holder = BusHolder()
    tries: list[Bus] = []

    def make() -> Bus:
        bus = MemoryBus(broker, "svc", username="svc", password="secret")
        tries.append(bus)
        if len(tries) == 2:
            accounts["svc"] = "secret"
        return bus

    bus = await asyncio.wait_for(start_bus(make, asyncio.Event(), holder), DEADLINE_S)
    assert bus is tries[1]
    await holder.check()
    await tries[1].close()
    with pytest.raises(Unavailable):
        await holder.check()


async def test_stop_ends_the_wait_for_a_broker() -> None:
    broker = MemoryBroker()
    broker.stop()
    stop = asyncio.Event()
    starting = asyncio.create_task(start_bus(lambda: MemoryBus(broker, "svc"), stop, BusHolder()))
    await asyncio.sleep(0)
    stop.set()
    assert await asyncio.wait_for(starting, DEADLINE_S) is None
