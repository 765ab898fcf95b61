"""The list of the API's nouns: whose routes, job handlers and periodic work are served."""

from collections.abc import Callable, Mapping

from fastapi import APIRouter

import api.billing.handlers
import api.billing.routes
import api.billing.webhooks
import api.customers.routes
import api.expediente.routes
import api.identity.periodics
import api.identity.routes
import api.notifications.handlers
import api.notifications.routes
import api.orders.authority_webhook
import api.orders.deadlines
import api.orders.handlers
import api.orders.routes_customer
import api.orders.routes_intranet
import api.orders.webhooks
import api.services.handlers
import api.services.routes
import api.support.routes
from api.deps import ApiDeps
from api.periodic import Periodic
from core.contracts.jobs import Job
from core.jobs import Handler

ROUTERS: tuple[APIRouter, ...] = (
    api.identity.routes.router,
    api.customers.routes.router,
    api.orders.routes_intranet.router,
    api.orders.routes_customer.router,
    api.orders.webhooks.router,
    api.orders.authority_webhook.router,
    api.expediente.routes.router,
    api.services.routes.router,
    api.billing.routes.router,
    api.billing.webhooks.router,
    api.notifications.routes.router,
    api.support.routes.router,
)

HANDLERS: tuple[Callable[[ApiDeps], Mapping[type[Job], Handler]], ...] = (
    api.orders.handlers.handlers,
    api.services.handlers.handlers,
    api.billing.handlers.handlers,
    api.notifications.handlers.handlers,
)

PERIODICS: tuple[Callable[[ApiDeps], tuple[Periodic, ...]], ...] = (
    api.identity.periodics.periodics,
    api.orders.deadlines.periodics,
    api.services.handlers.periodics,
)


def handlers(deps: ApiDeps) -> dict[type[Job], Handler]:
    """Every job of the queue ``api`` with what runs it; two nouns cannot claim one job."""
    found: dict[type[Job], Handler] = {}
    for noun in HANDLERS:
        for job, handler in noun(deps).items():
            if job in found:
                raise ValueError(f"{job.__name__} has two handlers")
            found[job] = handler
    return found


def periodics(deps: ApiDeps) -> tuple[Periodic, ...]:
    """All periodic work."""
    return tuple(item for noun in PERIODICS for item in noun(deps))
