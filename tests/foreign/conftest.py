"""A running gateway that consumes a foreign IoT API."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from core.clock import ManualClock
from core.db import Database
from core.settings import DatabaseSettings, load
from tests.broker_fixtures import RunningBroker
from tests.foreign.desk import Desk
from tests.foreign.world import World, running


@pytest.fixture
async def world(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    async with running(database, mosquitto_broker, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
async def desk(database: str, tmp_path: Path) -> AsyncIterator[Desk]:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO config.vehicle_model"
            " (code, name, engine_type, firmware_version, base_price_minor)"
            " VALUES ('AURORA', 'Aurora', 'ELECTRIC', '2.4.1', 3500000)"
        )
    room = Database(load(DatabaseSettings, dsn=database, set_role=True), role="caas_gateway")
    await room.open()
    made = Desk(room, ManualClock(datetime(2026, 11, 24, 8, tzinfo=UTC)), tmp_path)
    await made.begin()
    yield made
    if made.client is not None:
        await made.client.close()
    await room.close()
