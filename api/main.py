"""The REST API and its worker as services: what is built at start, and closed in order."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api.app import create_app
from api.deps import ApiDeps
from api.nouns import handlers, periodics
from api.partners.clients import build_partners
from api.periodic import every
from api.settings import load_settings
from core.clock import SystemClock
from core.db import Database
from core.jobs import JobWorker
from core.ops import HttpServer, add_ops_routes
from core.settings import DatabaseSettings, JobSettings, OpsSettings, load

ROLE = "caas_api"
QUEUE = "api"


async def run_api(stop: asyncio.Event) -> None:
    """Serve the REST API until ``stop``."""
    async with _deps("api") as deps:
        settings = deps.settings.api
        await HttpServer(create_app(deps), settings.host, settings.port).run(stop)


async def run_worker(stop: asyncio.Event) -> None:
    """Work off the queue ``api``, and the periodic work, until ``stop``."""
    ops, jobs = load(OpsSettings), load(JobSettings)
    async with _deps("worker") as deps:
        app = FastAPI(openapi_url=None)
        add_ops_routes(app, "worker", {"database": deps.database.ping})
        async with asyncio.TaskGroup() as group:
            group.create_task(HttpServer(app, ops.host, ops.port).run(stop))
            group.create_task(JobWorker(deps.database, QUEUE, handlers(deps), jobs).run(stop))
            for work in periodics(deps):
                group.create_task(every(deps.database, work, stop))


@asynccontextmanager
async def _deps(service: str) -> AsyncGenerator[ApiDeps]:
    settings = load_settings()
    database = Database(load(DatabaseSettings), role=ROLE, service=service)
    # Not waited for: until the database answers, requests get 503 and /healthz says why.
    await database.pool.open(wait=False)
    partners = build_partners(settings.partner)
    try:
        yield ApiDeps(database, SystemClock(), settings, partners)
    finally:
        await partners.close()
        await database.close()
