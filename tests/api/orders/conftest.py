"""A running world for the tests of a sale."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.api.world import World, running

# Ahead of the machine's clock, so that no job deferred to a later moment starts by itself.
START = datetime(2040, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
async def world(database: str, tmp_path: Path) -> AsyncIterator[World]:
    """API, worker and simulators; the test plays the factory's part."""
    async with running(database, tmp_path, START) as world:
        yield world
