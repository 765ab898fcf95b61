"""Asking the workshops: live before a payment, from the cache for browsing (DOMAIN 5)."""

from datetime import datetime, timedelta
from typing import Any, cast

from prometheus_client import Counter

import core.log
from api.deps import ApiDeps
from api.partners.http import PartnerUnavailable
from api.partners.vss import VssClient
from api.services import repository
from api.services.gate import NOT_GATED, Block, GateDecision, MaintenanceStatus, decide
from api.services.repository import Offer
from core.errors import Unavailable

log = core.log.get(__name__)

DECISIONS = Counter("caas_vss_decisions", "Maintenance decisions before a payment", ["outcome"])


async def live_decision(deps: ApiDeps, vin: str, offer: Offer) -> GateDecision:
    """The gate before a payment, always live; Unavailable (MAINTENANCE_UNKNOWN) by policy."""
    if not offer.requires_maintenance:
        return NOT_GATED
    try:
        body = await VssClient(deps.partners.vss).maintenance_status(vin)
    except PartnerUnavailable as error:
        return _by_policy(vin, offer, error)
    decision = evaluate(offer, body, deps.settings.services.workshop_url)
    DECISIONS.labels("allowed" if decision.allowed else "denied").inc()
    log.info("maintenance decision", vin=vin, service=offer.code, reason=decision.reason)
    return decision


async def browse_status(deps: ApiDeps, vin: str) -> dict[str, Any] | None:
    """What to show while browsing: at most ten minutes old; None = "checked at purchase"."""
    now = deps.clock.now()
    since = now - timedelta(seconds=deps.settings.services.vss_browse_cache_s)
    async with deps.database.transaction() as conn:
        cached = await repository.cached_maintenance(conn, vin, since)
    if cached is not None:
        return cached
    try:
        body = await VssClient(deps.partners.vss).maintenance_status(vin)
    except PartnerUnavailable:
        return None
    await _remember(deps, vin, body, now)
    return body


def evaluate(offer: Offer, body: dict[str, Any], workshop_url: str) -> GateDecision:
    """The workshops' answer, judged for this service."""
    return decide(tuple(offer.required_blocks), offer.min_compliance, parse(body), workshop_url)


def parse(body: dict[str, Any]) -> MaintenanceStatus:
    """The answer as the gate reads it: what is missing or of a wrong kind is not known."""
    blocks = cast("list[Any]", body.get("functional_blocks") or [])
    return MaintenanceStatus(
        warranty_active=_flag(body.get("warranty_active")),
        blocks=tuple(
            _block(cast("dict[str, Any]", block)) for block in blocks if isinstance(block, dict)
        ),
    )


def _block(block: dict[str, Any]) -> Block:
    due = block.get("next_service_due_date")
    return Block(
        block_id=str(block.get("block_id", "")),
        current=_flag(block.get("maintenance_current")),
        compliance=_number(block.get("compliance_percentage")),
        overdue=_flag(block.get("overdue")),
        overdue_km=_whole(block.get("overdue_km")),
        overdue_days=_whole(block.get("overdue_days")),
        due_date=due if isinstance(due, str) else None,
    )


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _by_policy(vin: str, offer: Offer, error: PartnerUnavailable) -> GateDecision:
    """No answer: the service's policy decides, and operations hear of it."""
    allowed = offer.vss_policy == "ALLOW_ON_ERROR" and not offer.safety_critical
    policy = "ALLOW_ON_ERROR" if allowed else "DENY_ON_ERROR"
    DECISIONS.labels(policy.lower()).inc()
    log.error(
        "vss gives no answer", vin=vin, service=offer.code, policy=policy, error=error.message
    )
    if not allowed:
        raise Unavailable("MAINTENANCE_UNKNOWN", "the workshops' system does not answer") from error
    return GateDecision(True, policy)


async def _remember(deps: ApiDeps, vin: str, body: dict[str, Any], now: datetime) -> None:
    async with deps.database.transaction() as conn:
        await repository.cache_maintenance(conn, vin, body, now)
