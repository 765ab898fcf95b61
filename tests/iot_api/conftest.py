"""A running gateway with its IoT API."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.broker_fixtures import RunningBroker, run_broker
from tests.iot_api.world import World, running


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
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """For more than one replica: one that is gone keeps its share of what later tests publish."""
    yield from run_broker(tmp_path_factory.mktemp("own-mosquitto"), "mosquitto")
