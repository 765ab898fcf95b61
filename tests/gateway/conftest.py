"""A database with vehicle models, as the gateway's role."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest

from core.db import Database
from core.settings import DatabaseSettings, load

PREFIX = "caas/v1/vehicles"
VIN = "VF1AURXRA00000017"
OTHER_VIN = "VF1AURXRA00000025"
DEADLINE_S = 20.0


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Return once ``condition`` holds; an AssertionError that says ``what`` after 20 s."""
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        await asyncio.sleep(0.02)


@pytest.fixture
def seeded(database: str) -> str:
    """The DSN of a database whose catalogue has the model AURORA."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO config.vehicle_model"
            " (code, name, engine_type, firmware_version, base_price_minor)"
            " VALUES ('AURORA', 'Aurora', 'ELECTRIC', '2.4.1', 3500000)"
        )
    return database


@pytest.fixture
async def room(seeded: str) -> AsyncIterator[Database]:
    """The database as the gateway sees it."""
    database = Database(
        load(DatabaseSettings, dsn=seeded, set_role=True, connect_timeout_s=1.0),
        role="caas_gateway",
    )
    await database.open()
    yield database
    await database.close()
