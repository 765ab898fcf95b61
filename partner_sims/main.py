"""Runs the outside world: HTTP, SMTP, timers and webhooks in one event loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from prometheus_client import CollectorRegistry

import core.log
import core.settings
from core.clock import SystemClock
from core.ops import HttpServer
from partner_sims.app import make_app, make_sims
from partner_sims.mail import smtp
from partner_sims.settings import PartnerSimsSettings
from partner_sims.store import Store

log = core.log.get(__name__)


async def run(stop: asyncio.Event) -> None:
    """Serve until ``stop``; Unavailable where a port is taken, SettingsError on a bad setting."""
    settings = core.settings.load(PartnerSimsSettings)
    store = Store(settings.database)
    try:
        await _serve(settings, store, stop)
    finally:
        store.close()


async def _serve(settings: PartnerSimsSettings, store: Store, stop: asyncio.Event) -> None:
    metrics = CollectorRegistry()
    sims = make_sims(settings, SystemClock(), store, metrics, stop)
    http = HttpServer(make_app(sims, metrics), settings.host, settings.port)
    with smtp.listening(sims) as mail:
        log.info("partner simulators start", url=settings.base_url, smtp_port=settings.smtp_port)
        await _together(
            stop, http.run(stop), smtp.serve(sims, mail), sims.due.run(), sims.outbox.run()
        )
    log.info("partner simulators stopped")


async def _together(
    stop: asyncio.Event, main: Coroutine[Any, Any, None], *parts: Coroutine[Any, Any, None]
) -> None:
    """Run ``main`` until it ends on ``stop``; a part that breaks before that stops everything."""
    serving = asyncio.create_task(main)
    others = [asyncio.create_task(part) for part in parts]
    done, _ = await asyncio.wait([serving, *others], return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    await asyncio.wait([serving])
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for task in {serving, *done}:
        task.result()
