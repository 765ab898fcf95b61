"""The API, its worker and the partner simulators over real HTTP, in the test's own loop."""

import asyncio
import hashlib
import hmac
import json
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import structlog
from prometheus_client import CollectorRegistry

from api import periodic
from api.app import create_app
from api.deps import ApiDeps
from api.nouns import handlers, periodics
from api.partners.clients import build_partners
from api.seed import seed
from api.settings import ApiSettings, PartnerSettings, Settings
from caas.supervisor.ports import free_port
from core.clock import ManualClock, SystemClock, rfc3339
from core.db import Database
from core.jobs import JobWorker
from core.ops import HttpServer
from core.settings import DatabaseSettings, JobSettings, load
from partner_sims.app import make_app, make_sims
from partner_sims.mail import smtp
from partner_sims.settings import PartnerSimsSettings
from partner_sims.sims import Sims
from partner_sims.store import Store

PASSWORD = "a-demo-password"
CARD = "4242424242424242"
PENDING_CARD = "4000000000003220"
DECLINED_CARD = "4000000000000002"
DEADLINE_S = 30.0


@dataclass
class World:
    """Everything a test of the sale touches."""

    deps: ApiDeps
    clock: ManualClock
    client: httpx.AsyncClient
    sims_client: httpx.AsyncClient
    sims: Sims
    tokens: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)

    async def token(self, username: str, password: str = PASSWORD) -> dict[str, str]:
        """An Authorization header; logs in again only when the last token is getting old."""
        key = (username, int(self.clock.now().timestamp()) // 600)
        if key in self.tokens:
            return dict(self.tokens[key])
        answer = await self.client.post(
            "/auth/login", json={"username": username, "password": password}
        )
        assert answer.status_code == 200, answer.text
        self.tokens[key] = {"Authorization": f"Bearer {answer.json()['accessToken']}"}
        return dict(self.tokens[key])

    async def card(self, number: str = CARD) -> str:
        """A payment token of the gateway's hosted form."""
        answer = await self.sims_client.post(
            "/payments/_form/tokenize", json={"pan": number, "cvv": "123", "exp": "12/30"}
        )
        assert answer.is_success, answer.text
        return str(answer.json()["payment_token"])

    async def fault(self, partner: str, mode: str, **knobs: Any) -> None:
        answer = await self.sims_client.put(f"/faults/{partner}", json={"mode": mode, **knobs})
        assert answer.status_code == 200, answer.text

    async def factory_says(
        self, factory_order_id: str, status: str, *, secret: str | None = None, **more: Any
    ) -> httpx.Response:
        """A signed webhook of the factory."""
        body = {
            "order_id": factory_order_id,
            "status": status,
            "timestamp": rfc3339(self.clock.now()),
            **more,
        }
        raw = json.dumps(body).encode()
        key = secret or self.deps.settings.partner.factory_webhook_secret.get_secret_value()
        signature = hmac.new(key.encode(), raw, hashlib.sha256).hexdigest()
        return await self.client.post(
            "/webhooks/factory/status",
            content=raw,
            headers={"X-Factory-Signature": signature, "Content-Type": "application/json"},
        )

    async def scan(self, name: str) -> None:
        """One turn of a periodic work."""
        work = next(item for item in periodics(self.deps) if item.name == name)
        assert await periodic.run_once(self.deps.database, work)

    async def rows(self, query: Any, **params: Any) -> list[dict[str, Any]]:
        async with self.deps.database.transaction() as conn:
            return await conn.dicts(query, params)

    async def jobs(self, task: str) -> list[dict[str, Any]]:
        """Payloads of jobs that wait in a queue."""
        rows = await self.rows(
            "SELECT args FROM jobs.procrastinate_jobs WHERE task_name = %(task)s ORDER BY id",
            task=task,
        )
        return [row["args"]["payload"] for row in rows]


async def until(check: Callable[[], Awaitable[Any]], *, what: str) -> Any:
    """The first true value of ``check``; AssertionError after the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + DEADLINE_S
    while loop.time() < end:
        value = await check()
        if value:
            return value
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what} did not happen in {DEADLINE_S:g} s")


@asynccontextmanager
async def running(
    dsn: str, folder: Path, start: datetime, *, live: bool = False
) -> AsyncGenerator[World]:
    """API, worker and simulators, seeded; all ends with the block.

    ``live``: the simulators' timers and webhooks run; else a test plays the factory's part.
    """
    # Without a configuration structlog draws every traceback with all its locals.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    clock, stop = ManualClock(start), asyncio.Event()
    api_port, sims_port, smtp_port = free_port(), free_port(), free_port()
    sims_url = f"http://127.0.0.1:{sims_port}"
    settings = Settings(
        load(ApiSettings, port=api_port, public_url="https://caas.example"),
        load(
            PartnerSettings,
            factory_url=f"{sims_url}/factory",
            payments_url=f"{sims_url}/payments",
            vss_url=f"{sims_url}/vss",
            authority_url=f"{sims_url}/authority",
            smtp_port=smtp_port,
            factory_network_waits_s=(0.0,),
            factory_server_waits_s=(0.0,),
            payments_waits_s=(0.0,),
        ),
    )
    database = Database(
        DatabaseSettings.model_validate({"dsn": dsn, "set_role": True}),
        role="caas_api",
        service="test",
    )
    await database.open()
    deps = ApiDeps(database, clock, settings, build_partners(settings.partner))
    async with database.transaction() as conn:
        await seed(conn, password=PASSWORD, now=clock.now())
    store = Store(folder / "partners.sqlite3")
    sims = make_sims(
        load(
            PartnerSimsSettings,
            port=sims_port,
            smtp_port=smtp_port,
            platform_url=f"http://127.0.0.1:{api_port}",
            data_dir=folder,
            step_delay_s=0.02,
            registration_delay_s=0.0,
            pending_delay_s=0.1,
        ),
        SystemClock(),
        store,
        CollectorRegistry(),
        stop,
    )
    mail = socket.create_server(("127.0.0.1", smtp_port))
    jobs = load(JobSettings, poll_s=0.1, drain_s=1.0)
    tasks = [
        asyncio.create_task(HttpServer(create_app(deps), "127.0.0.1", api_port).run(stop)),
        asyncio.create_task(
            HttpServer(make_app(sims, CollectorRegistry()), "127.0.0.1", sims_port).run(stop)
        ),
        asyncio.create_task(JobWorker(database, "api", handlers(deps), jobs).run(stop)),
    ]
    timers = [asyncio.create_task(smtp.serve(sims, mail))]
    if live:
        timers += [asyncio.create_task(sims.due.run()), asyncio.create_task(sims.outbox.run())]
    try:
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{api_port}/api/v1") as client,
            httpx.AsyncClient(base_url=sims_url) as sims_client,
        ):
            await until(
                lambda: _answers(client, f"http://127.0.0.1:{api_port}/healthz"),
                what="the API's start",
            )
            await until(lambda: _answers(sims_client, "/healthz"), what="the simulators' start")
            yield World(deps, clock, client, sims_client, sims)
    finally:
        # The partners last: a job that is just ending may need one.
        stop.set()
        await asyncio.gather(*tasks)
        for timer in timers:
            timer.cancel()
        await asyncio.gather(*timers, return_exceptions=True)
        structlog.reset_defaults()
        await deps.partners.close()
        await database.close()
        store.close()


async def _answers(client: httpx.AsyncClient, path: str) -> bool:
    with suppress(httpx.TransportError):
        return (await client.get(path)).status_code < 500
    return False
