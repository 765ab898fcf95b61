"""The vehicles of a benchmark, as a process of their own: told on stdin, answer on stdout."""

import asyncio
import sys
import time
from collections.abc import Iterator

import msgspec

from core.bus import Bus
from core.bus.open import open_bus
from core.contracts.bus import Operational, Sample, TelemetryBatch, encode
from core.contracts.topics import Topic, topic_of
from core.settings import BusSettings, load

LANES = 50  # unconfirmed messages of one vehicle


class Plan(msgspec.Struct, frozen=True):
    """What to publish: of each vehicle ``messages`` batches of ``samples``, 1 ms apart."""

    fleet: list[tuple[str, str]]  # VIN and secret
    boot: int
    base_ms: int
    messages: int
    samples: int


class Published(msgspec.Struct, frozen=True):
    """When each message was handed to the client, by VIN; seconds since the epoch."""

    at: dict[str, list[float]]


def batch(plan: Plan, n: int) -> TelemetryBatch:
    """The ``n``-th message of any vehicle, of an ordinary size."""
    first = plan.base_ms + n * plan.samples
    return TelemetryBatch(plan.boot, n, [_sample(first + i) for i in range(plan.samples)])


def _sample(t: int) -> Sample:
    return Sample(
        t, speed_kmh=87.5, soc_pct=64.0, odometer_km=18234.2, lat=40.4168, lon=-3.7038,
        heading_deg=271.0, battery_v=12.6, battery_temp_c=31.5, motor_temp_c=64.0, ambient_c=18.5,
        power_kw=22.1, state=Operational.RUNNING, extra={"tyre_fl_kpa": 241.0},
    )  # fmt: skip


async def _publish(bus: Bus, topic: str, payloads: list[bytes]) -> list[float]:
    at = [0.0] * len(payloads)
    waiting: Iterator[int] = iter(range(len(payloads)))

    async def lane() -> None:
        for n in waiting:
            at[n] = time.time()
            await bus.publish(topic, payloads[n], timeout_s=120)

    await asyncio.gather(*(lane() for _ in range(LANES)))
    return at


async def _main() -> None:
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    settings = load(BusSettings)
    payloads = [encode(batch(plan, n)) for n in range(plan.messages)]
    buses = {
        vin: open_bus(settings, client_id=vin, username=vin, password=secret, role="vehicle")
        for vin, secret in plan.fleet
    }
    await asyncio.gather(*(bus.start() for bus in buses.values()))
    _say(b"ready")
    if not await asyncio.to_thread(sys.stdin.readline):
        return
    sent = await asyncio.gather(
        *(
            _publish(bus, topic_of(settings.prefix, vin, Topic.TELEMETRY), payloads)
            for vin, bus in buses.items()
        )
    )
    _say(msgspec.json.encode(Published(dict(zip(buses, sent, strict=True)))))
    await asyncio.gather(*(bus.close() for bus in buses.values()))


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(_main())
