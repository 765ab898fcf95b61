"""The inbox ends when told to, whatever its messages wait for."""

import asyncio

from core.bus import Message, Subscription
from core.bus.memory import MemoryBroker, MemoryBus
from core.errors import Unavailable
from ota_engine.inbox import Inbox
from tests.ota_engine.world import PREFIX, World

DEADLINE_S = 20.0
TOPIC = f"{PREFIX}/VF1AURRA000000017/answer"


class Deaf(Inbox):
    """Loses a cancellation while it handles a message, as ``asyncio.wait_for`` does before 3.12."""

    busy: asyncio.Event
    away = False

    async def handle(self, message: Message) -> None:
        self.busy.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.away:
                raise Unavailable("AWAY", "no database") from None


async def ended(world: World, *, away: bool) -> list[bytes]:
    """What the broker sends again after an inbox that was cancelled in the middle."""
    broker = MemoryBroker()
    bus = MemoryBus(broker, "engine", subscriptions=[Subscription(TOPIC)])
    await bus.start()
    inbox = Deaf(world.engine, bus, PREFIX)
    inbox.busy, inbox.away = asyncio.Event(), away
    running = asyncio.create_task(inbox.run())
    await bus.publish(TOPIC, b"message")
    async with asyncio.timeout(DEADLINE_S):
        await inbox.busy.wait()
        running.cancel()
        await asyncio.wait({running})
    await bus.close()
    return [delivery.payload for delivery in broker._sessions["engine"].unacked]


async def test_a_lost_cancellation_does_not_keep_it_from_ending(world: World) -> None:
    assert await ended(world, away=False) == []


async def test_a_database_that_is_away_does_not_keep_it_from_ending(world: World) -> None:
    assert await ended(world, away=True) == [b"message"]
