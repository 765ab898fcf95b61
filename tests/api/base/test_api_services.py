"""The API and its worker as services: they start without a database, and serve when it is there."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from api.main import run_api, run_worker
from api.seed import STAFF, seed
from caas.supervisor.ports import free_port
from core.clock import SystemClock
from core.db import Database
from core.settings import DatabaseSettings, load
from tests.api.world import until

Run = Callable[[asyncio.Event], Awaitable[None]]


@pytest.mark.parametrize(
    ("run", "port_setting"), [(run_api, "CAAS_API_PORT"), (run_worker, "CAAS_OPS_PORT")]
)
async def test_a_service_starts_serves_and_stops(
    database: str, monkeypatch: pytest.MonkeyPatch, run: Run, port_setting: str
) -> None:
    health = await _start(monkeypatch, port_setting, database, run, wanted=200)
    assert health["healthy"] is True


@pytest.mark.parametrize(
    ("run", "port_setting"), [(run_api, "CAAS_API_PORT"), (run_worker, "CAAS_OPS_PORT")]
)
async def test_without_a_database_a_service_says_so_and_waits(
    monkeypatch: pytest.MonkeyPatch, run: Run, port_setting: str
) -> None:
    nowhere = f"postgresql://caas@127.0.0.1:{free_port()}/caas"
    monkeypatch.setenv("CAAS_DB_CONNECT_TIMEOUT_S", "0.2")
    health = await _start(monkeypatch, port_setting, nowhere, run, wanted=503)
    assert "DATABASE_UNAVAILABLE" in health["parts"]["database"]


async def test_the_seed_can_be_repeated(database: str) -> None:
    opened = Database(
        load(DatabaseSettings, dsn=database, set_role=True), role="caas_api", service="test"
    )
    await opened.open()
    try:
        created: list[bool] = []
        for password in ("first-password", "second-password"):
            async with opened.transaction() as conn:
                result = await seed(conn, password=password, now=SystemClock().now())
            created.append(result.created)
            assert set(result.logins) == {role.value for role in STAFF}
        assert created == [True, False]
        async with opened.transaction() as conn:
            assert await conn.value("SELECT count(*) FROM customers.employee") == len(STAFF)
    finally:
        await opened.close()


async def _start(
    monkeypatch: pytest.MonkeyPatch, port_setting: str, dsn: str, run: Run, *, wanted: int
) -> dict[str, Any]:
    """Run the service until its health page answers ``wanted``; the page."""
    port = free_port()
    monkeypatch.setenv("CAAS_DB_DSN", dsn)
    monkeypatch.setenv("CAAS_DB_SET_ROLE", "true")
    monkeypatch.setenv(port_setting, str(port))
    stop = asyncio.Event()
    service = asyncio.ensure_future(run(stop))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:

            async def answer() -> dict[str, Any] | None:
                assert not service.done()
                with suppress(httpx.TransportError):
                    found = await client.get("/healthz")
                    return found.json() if found.status_code == wanted else None
                return None

            return await until(answer, what=f"/healthz with {wanted}")
    finally:
        stop.set()
        await service
