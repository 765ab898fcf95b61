"""The API over a real database, as an ASGI application inside the test."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.deps import ApiDeps
from api.partners.clients import build_partners
from api.settings import ApiSettings, PartnerSettings, Settings
from core.clock import ManualClock
from core.db import Database
from core.settings import DatabaseSettings

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def api_settings() -> dict[str, Any]:
    """Overrides of ApiSettings for a test module."""
    return {}


@pytest.fixture
def partner_settings() -> dict[str, Any]:
    """Overrides of PartnerSettings for a test module; no retry waits."""
    return {
        "factory_network_waits_s": (0.0,) * 3,
        "factory_server_waits_s": (0.0,) * 5,
        "payments_waits_s": (0.0,) * 3,
        "vss_waits_s": (0.0,) * 3,
    }


@pytest.fixture
async def deps(
    database: str,
    clock: ManualClock,
    api_settings: dict[str, Any],
    partner_settings: dict[str, Any],
) -> AsyncIterator[ApiDeps]:
    settings = Settings(ApiSettings(**api_settings), PartnerSettings(**partner_settings))
    opened = Database(
        DatabaseSettings.model_validate({"dsn": database, "set_role": True, "pool_max": 4}),
        role="caas_api",
        service="test",
    )
    await opened.open()
    partners = build_partners(settings.partner)
    yield ApiDeps(opened, clock, settings, partners)
    await partners.close()
    await opened.close()


@pytest.fixture
async def client(deps: ApiDeps) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(deps))
    async with httpx.AsyncClient(transport=transport, base_url="http://test/api/v1") as client:
        yield client
