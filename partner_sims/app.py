"""The HTTP side of the outside world: every partner under its own path of one application."""

import asyncio
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest

from core.clock import Clock
from partner_sims.authority import routes as authority
from partner_sims.authority import service as authority_service
from partner_sims.due import DueWork
from partner_sims.errors import PartnerError
from partner_sims.factory import routes as factory
from partner_sims.factory import service as factory_service
from partner_sims.faults import routes as faults
from partner_sims.faults.middleware import FaultMiddleware
from partner_sims.faults.service import Faults
from partner_sims.mail import routes as mail
from partner_sims.outbox import Outbox
from partner_sims.payments import bank
from partner_sims.payments import routes as payments
from partner_sims.settings import PartnerSimsSettings
from partner_sims.sims import Sims, SimsDep
from partner_sims.store import Store
from partner_sims.vss import routes as vss

# What a malformed request is called in each partner's contract.
_INVALID = {"factory": "INVALID_SPECIFICATION"}


@dataclass(frozen=True, slots=True)
class _Alive:
    value: int


def make_sims(
    settings: PartnerSimsSettings,
    clock: Clock,
    store: Store,
    metrics: CollectorRegistry,
    stop: asyncio.Event,
) -> Sims:
    """The shared context with every partner's timers in place."""
    sent = Counter(
        "caas_partner_webhooks",
        "Webhook deliveries by partner and how they ended",
        ["partner", "state"],
        registry=metrics,
    )
    sims = Sims(
        settings=settings,
        clock=clock,
        store=store,
        faults=Faults(store),
        due=DueWork(store, clock),
        outbox=Outbox(store, clock, settings, sent),
        stop=stop,
    )
    factory_service.install(sims)
    bank.install(sims)
    authority_service.install(sims)
    return sims


def make_app(sims: Sims, metrics: CollectorRegistry) -> FastAPI:
    """The application over ``sims``."""
    app = FastAPIOffline(title="CaaS partner simulators", version="1", redoc_url=None)
    app.state.sims = sims
    requests = Counter(
        "caas_partner_requests",
        "Answers by partner and HTTP status",
        ["partner", "status"],
        registry=metrics,
    )
    for router in (
        factory.router,
        payments.router,
        vss.router,
        authority.router,
        mail.router,
        faults.router,
    ):
        app.include_router(router)
    app.add_middleware(FaultMiddleware, sims=sims, requests=requests)
    app.add_exception_handler(PartnerError, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    _add_operations(app, metrics)
    return app


def _add_operations(app: FastAPI, metrics: CollectorRegistry) -> None:
    async def healthz(sims: SimsDep) -> dict[str, str]:
        """Alive, with the store in reach."""
        sims.store.one(_Alive, "alive")
        return {"status": "ok"}

    async def show_metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    async def list_webhooks(
        sims: SimsDep, state: Literal["PENDING", "DELIVERED", "FAILED"] | None = None
    ) -> dict[str, Any]:
        """What was or is to be reported to the platform, newest first."""
        return {"webhooks": [asdict(webhook) for webhook in sims.outbox.list(state)]}

    async def resend_webhook(webhook_id: str, sims: SimsDep) -> dict[str, Any]:
        """Send a webhook once more, the same id and body."""
        with sims.store.transaction():
            if not sims.outbox.resend(webhook_id):
                raise PartnerError(404, "WEBHOOK_NOT_FOUND", "no such webhook")
        return {"webhook_id": webhook_id}

    async def forget_pending(sims: SimsDep) -> dict[str, int]:
        """Nothing that was to come comes any more: no settlement, no step, no webhook.

        What the partners have promised stays promised: a transaction whose settlement is
        forgotten is never settled.
        """
        with sims.store.transaction():
            timers = sims.due.forget()
        return {"timers": timers, "webhooks": await sims.outbox.forget()}

    async def index() -> HTMLResponse:
        """What there is."""
        return HTMLResponse(_INDEX)

    app.add_api_route("/healthz", healthz, tags=["operations"])
    app.add_api_route("/metrics", show_metrics, tags=["operations"])
    app.add_api_route("/webhooks", list_webhooks, tags=["webhooks"])
    app.add_api_route(
        "/webhooks/{webhook_id}/resend", resend_webhook, methods=["POST"], tags=["webhooks"]
    )
    app.add_api_route("/pending", forget_pending, methods=["DELETE"], tags=["operations"])
    app.add_api_route("/", index, include_in_schema=False)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, PartnerError)
    return JSONResponse(error.body, status_code=error.status)


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    """400 that names the field but never repeats the input: it may be a card number."""
    assert isinstance(error, RequestValidationError)
    partner = request.url.path.lstrip("/").partition("/")[0]
    first: dict[str, Any] = dict(error.errors()[0])
    field = ".".join(str(part) for part in first["loc"] if part != "body")
    refusal = PartnerError(
        400,
        _INVALID.get(partner, "INVALID_REQUEST"),
        str(first["msg"]),
        details={"field": field},
    )
    return JSONResponse(refusal.body, status_code=refusal.status)


_INDEX = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>CaaS partner simulators</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
li{margin:.3rem 0}</style></head><body>
<h1>The outside world of CaaS</h1>
<ul>
<li><a href="/mail/">/mail/</a>: inbox (e-mail, push, SMS)</li>
<li>/factory: orders; <a href="/factory/_control/vin-pool">cars on the lot</a></li>
<li>/payments: gateway; <a href="/payments/_control/ledger">ledger</a></li>
<li>/vss: maintenance facts of the workshops</li>
<li>/authority: registrations in es, fr, de and elsewhere</li>
<li><a href="/faults">/faults</a>: how each partner misbehaves</li>
<li><a href="/webhooks">/webhooks</a>: what was reported to the platform</li>
<li><a href="/docs">/docs</a>: every endpoint</li>
<li><a href="/healthz">/healthz</a>, <a href="/metrics">/metrics</a></li>
</ul></body></html>
"""
