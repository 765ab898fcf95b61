"""An ingestor on the in-memory broker and a real database, and vehicles that talk to it."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import psycopg
import pytest

from core.bus import Subscription
from core.bus.memory import MemoryBroker, MemoryBus
from core.clock import SystemClock
from core.contracts.bus import Stored, encode
from core.db import Database
from core.settings import DatabaseSettings, load
from telemetry.decode import Reader
from telemetry.ingest import Ingestor, subscriptions
from telemetry.settings import TelemetrySettings

PREFIX = "caas/v1/vehicles"
VIN = "VF1AURXRA00000017"
OTHER_VIN = "VF1AURXRA00000025"
UNKNOWN_VIN = "VF1AURXRA00000033"
DEADLINE_S = 20.0


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Return once ``condition`` holds; an AssertionError that says ``what`` after 20 s."""
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        await asyncio.sleep(0.02)


def enroll(dsn: str, *vins: str) -> None:
    """Put vehicles in the registry."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        for vin in vins:
            conn.execute(
                "INSERT INTO gateway.vehicle (vin, model, firmware) VALUES (%s, 'AURORA', '2.4.1')",
                [vin],
            )


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass
class World:
    """What a test needs at hand."""

    dsn: str
    broker: MemoryBroker
    vehicle: MemoryBus
    database: Database
    settings: TelemetrySettings
    receipts: list[tuple[str, Stored]] = field(default_factory=list)

    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True, options="-c timezone=UTC") as conn:
            return conn.execute(query.encode(), params).fetchall()

    def count(self, table: str) -> int:
        return self.rows(f"SELECT count(*) FROM {table}")[0][0]

    async def say(self, vin: str, topic: str, payload: bytes | msgspec.Struct) -> None:
        body = payload if isinstance(payload, bytes) else encode(payload)
        await self.vehicle.publish(f"{PREFIX}/{vin}/{topic}", body)

    async def until(self, query: str, wanted: int) -> None:
        async def holds() -> bool:
            return self.rows(query)[0][0] == wanted

        await eventually(holds, f"{query} = {wanted}; is {self.rows(query)[0][0]}")

    async def all_acknowledged(self, client_id: str = "caas-telemetry-0") -> None:
        session = self.broker._sessions[client_id]

        async def holds() -> bool:
            return not session.unacked and not session.waiting

        await eventually(holds, "everything is acknowledged")

    @asynccontextmanager
    async def ingestor(self, client_id: str = "caas-telemetry-0") -> AsyncGenerator[Ingestor]:
        """A running ingestor; on leaving it is stopped in order."""
        bus = MemoryBus(
            self.broker,
            client_id,
            subscriptions=subscriptions(PREFIX),
            receive_max=self.settings.receive_max,
        )
        await bus.start()
        stop = asyncio.Event()
        ingestor = Ingestor(
            self.database,
            bus,
            prefix=PREFIX,
            reader=Reader(PREFIX, timedelta(days=self.settings.oldest_days)),
            settings=self.settings,
            clock=SystemClock(),
        )
        running = asyncio.create_task(ingestor.run(stop))
        try:
            yield ingestor
        finally:
            stop.set()
            await asyncio.wait_for(running, DEADLINE_S)
            await bus.close()


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    enroll(database, VIN, OTHER_VIN)
    broker = MemoryBroker()
    vehicle = MemoryBus(broker, "vehicles", subscriptions=[Subscription(f"{PREFIX}/+/stored")])
    await vehicle.start()
    room = Database(
        load(DatabaseSettings, dsn=database, set_role=True, connect_timeout_s=1.0),
        role="caas_telemetry",
    )
    await room.open()
    settings = load(TelemetrySettings, receipt_every_s=0.3, drain_s=5.0)
    world = World(database, broker, vehicle, room, settings)

    async def listen() -> None:
        async for message in vehicle.messages():
            stored = msgspec.json.decode(message.payload, type=Stored)
            world.receipts.append((message.topic.split("/")[-2], stored))
            vehicle.ack(message)

    listening = asyncio.create_task(listen())
    yield world
    await vehicle.close()
    await listening
    await room.close()
