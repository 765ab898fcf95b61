"""The stack a behaviour runs on."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.bus.bus_stacks import Stack, running_stack


@pytest_asyncio.fixture
async def stack(request: pytest.FixtureRequest) -> AsyncIterator[Stack]:
    async with running_stack(request.param, request) as made:
        yield made
