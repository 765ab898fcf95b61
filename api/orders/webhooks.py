"""POST /webhooks/factory/status: the factory's steps into the inbox (DOMAIN 17)."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

import core.log
from api import limits
from api.deps import ApiDeps, Deps
from api.orders import manufacturing
from api.orders.jobs import ApplyFactoryStatus
from api.orders.rules import FACTORY_STATUSES
from api.orders.schemas import FactoryStatusIn
from api.webhooks import inbox
from core.clock import rfc3339
from core.jobs import defer

log = core.log.get(__name__)
router = APIRouter(prefix="/webhooks", tags=["webhooks"])

SOURCE = "factory"


@router.post("/factory/status")
async def factory_status(
    request: Request,
    deps: Deps,
    x_factory_signature: Annotated[str | None, Header()] = None,
) -> JSONResponse:
    """Keep the step and have it applied; a repetition is answered alike and changes nothing."""
    now = deps.clock.now()
    address = request.client.host if request.client else "unknown"
    await limits.hit(
        deps.database,
        f"webhook:{SOURCE}:{address}",
        limit=deps.settings.partner.webhook_rate,
        now=now,
    )
    body = await request.body()
    secret = deps.settings.partner.factory_webhook_secret.get_secret_value()
    if not inbox.is_signed(body, secret, x_factory_signature):
        return _refused("INVALID_SIGNATURE", "the signature does not fit the body")
    report = _parse(body)
    if report is None:
        return _refused("INVALID_PAYLOAD", "the body is not a status of an order")
    return await _take(deps, report, now)


async def _take(deps: ApiDeps, report: FactoryStatusIn, now: datetime) -> JSONResponse:
    async with deps.database.transaction() as conn:
        order_id = await manufacturing.order_of(conn, report.order_id)
        if order_id is None:
            log.warning("webhook refused", source=SOURCE, reason="unknown order")
            return JSONResponse(
                {"error": "ORDER_NOT_FOUND", "order_id": report.order_id, "received": False},
                status_code=404,
            )
        content: dict[str, Any] = report.model_dump(mode="json")
        message_id = f"{report.order_id}:{report.status}:{rfc3339(report.timestamp)}"
        new = await inbox.take(conn, source=SOURCE, message_id=message_id, body=content, now=now)
        if new:
            await defer(conn, ApplyFactoryStatus(order_id=order_id, body=content))
    log.info("webhook", source=SOURCE, message_id=message_id, new=new)
    return JSONResponse(
        {"received": True, "order_id": report.order_id, "processed_at": rfc3339(now)}
    )


def _parse(body: bytes) -> FactoryStatusIn | None:
    try:
        inbox.read_json(body)
        report = FactoryStatusIn.model_validate_json(body)
        rfc3339(report.timestamp)  # No calendar has every time of year 1 or 9999 in UTC.
    except (ValueError, ValidationError, OverflowError):
        return None
    if report.timestamp.tzinfo is None or report.status not in FACTORY_STATUSES:
        return None
    return report


def _refused(code: str, message: str) -> JSONResponse:
    log.warning("webhook refused", source=SOURCE, reason=code)
    return JSONResponse({"error": f"{code}: {message}", "received": False}, status_code=400)
