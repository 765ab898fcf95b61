"""A world with one car that is online."""

from collections.abc import AsyncIterator

import pytest

from tests.ota_engine.world import World, open_world


@pytest.fixture
async def world(database: str) -> AsyncIterator[World]:
    made = await open_world(database)
    await made.vehicle("ONLINE")
    yield made
    await made.database.close()
