"""Follows the broker's own topics on a connection of its own, so that no backlog delays them."""

import asyncio
import math

import core.log
from core.bus import Bus, Subscription
from core.bus.open import open_bus
from core.bus.start import BusHolder, start_bus
from gateway.broker_stats.metrics import BY_TOPIC
from gateway.parts import Gateway, Part

log = core.log.get(__name__)

ROOT = "$SYS/broker/"


def part(gateway: Gateway) -> Part:
    """The figures of the broker as gauges (FINDINGS: dropped messages are an alarm)."""

    async def follow(stop: asyncio.Event) -> None:
        bus = await _start(gateway, stop)
        if bus is None:
            return
        reading = asyncio.create_task(_read(bus))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            for task in (reading, stopping):
                task.cancel()
            await asyncio.gather(reading, stopping, return_exceptions=True)
            await bus.close()

    return Part(loops=(follow,))


async def _start(gateway: Gateway, stop: asyncio.Event) -> Bus | None:
    settings = gateway.bus_settings

    def make() -> Bus:
        return open_bus(
            settings,
            client_id=f"caas-gateway-stats-{settings.slot}",
            subscriptions=[Subscription(ROOT + name) for name in BY_TOPIC],
            role="stats",
        )

    return await start_bus(make, stop, BusHolder())


async def _read(bus: Bus) -> None:
    async for message in bus.messages():
        note(message.topic, message.payload)
        bus.ack(message)


def note(topic: str, payload: bytes) -> None:
    """Set the gauge of ``topic``; what is no finite number is logged and left out."""
    gauge = BY_TOPIC.get(topic.removeprefix(ROOT))
    try:
        value = float(payload)
    except ValueError:
        value = math.nan
    if gauge is None or not math.isfinite(value):
        log.warning("a figure of the broker cannot be read", topic=topic, payload=payload[:40])
        return
    gauge.set(value)
