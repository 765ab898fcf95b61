"""A running gateway that consumes a foreign IoT API."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.broker_fixtures import RunningBroker
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
