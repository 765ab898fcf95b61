"""The chain: engine, gateway and a car's control unit on one database."""

from collections.abc import AsyncIterator

import pytest

from core.db import Database
from core.settings import DatabaseSettings, load
from tests.wanted.world import Chain, chain


@pytest.fixture(params=["gateway first", "engine first"])
async def world(database: str, request: pytest.FixtureRequest) -> AsyncIterator[Chain]:
    """Each message reaches one room before the other; nothing may depend on which."""
    async with chain(database) as made:
        made.gateway_first = request.param == "gateway first"
        yield made


@pytest.fixture
async def room(database: str) -> AsyncIterator[Database]:
    """The database as the gateway sees it."""
    made = Database(load(DatabaseSettings, dsn=database, set_role=True), role="caas_gateway")
    await made.open()
    yield made
    await made.close()
