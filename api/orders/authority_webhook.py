"""POST /webhooks/registration: an authority's notice that a review has ended (DOMAIN 17)."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import core.log
from api import limits
from api.deps import Deps
from api.orders import registration
from api.orders.jobs import RegisterVehicle
from api.webhooks import inbox
from core.errors import Invalid, Unauthenticated
from core.jobs import defer

log = core.log.get(__name__)
router = APIRouter(prefix="/webhooks", tags=["webhooks"])

SOURCE = "authority"
Text = Annotated[str | None, Header()]


class RegistrationNotice(BaseModel):
    """What is read of the notice; the rest is asked of the authority itself."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    registration_id: str = Field(min_length=1, max_length=200)
    vin: str = Field("", max_length=17)


@router.post("/registration")
async def registration_notice(
    request: Request,
    deps: Deps,
    x_signature: Text = None,
    x_webhook_id: Text = None,
    x_webhook_timestamp: Text = None,
) -> dict[str, bool]:
    """Have the registration asked for again; 401 for a bad signature or an old delivery."""
    settings, now = deps.settings.partner, deps.clock.now()
    address = request.client.host if request.client else "unknown"
    await limits.hit(
        deps.database, f"webhook:{SOURCE}:{address}", limit=settings.webhook_rate, now=now
    )
    raw = await request.body()
    if not inbox.is_signed(raw, settings.authority_webhook_secret.get_secret_value(), x_signature):
        raise Unauthenticated("BAD_SIGNATURE", "the signature does not fit the body")
    if not _is_fresh(x_webhook_timestamp, now, settings.webhook_max_age_s):
        raise Unauthenticated("STALE_WEBHOOK", "the delivery is too old")
    if not x_webhook_id:
        raise Invalid("WEBHOOK_ID_MISSING", "a delivery needs its X-Webhook-Id")
    try:
        notice = RegistrationNotice.model_validate_json(raw)
    except ValidationError:
        raise Invalid("INVALID_PAYLOAD", "the body is not a registration notice") from None
    async with deps.database.transaction() as conn:
        new = await inbox.take(
            conn, source=SOURCE, message_id=x_webhook_id, body=notice.model_dump(), now=now
        )
        order_id = await registration.order_under_review(conn, notice.registration_id, notice.vin)
        if new and order_id is not None:
            await defer(conn, RegisterVehicle(order_id=order_id))
    log.info("webhook", source=SOURCE, message_id=x_webhook_id, new=new)
    return {"received": True}


def _is_fresh(sent: str | None, now: datetime, max_age_s: float) -> bool:
    try:
        at = datetime.fromisoformat(sent or "")
    except ValueError:
        return False
    return at.tzinfo is not None and abs(now - at) <= timedelta(seconds=max_age_s)
