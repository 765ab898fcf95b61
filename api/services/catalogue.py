"""What a customer sees for his car: options, prices, and why one cannot be bought (DOMAIN 4)."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from api.billing.schemas import MoneyOut
from api.deps import ApiDeps
from api.orders import ownership
from api.orders.ownership import OwnedVehicle
from api.services import maintenance, repository
from api.services.repository import Offer
from api.services.rules import DURATION_DAYS, Occupied, Tier, firmware_at_least, price_of
from core.errors import NotFound

CHECKED_AT_PURCHASE = "CHECKED_AT_PURCHASE"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The catalogue's facts for one car."""

    vehicle: OwnedVehicle
    firmware: str
    offers: list[Offer]
    taken: dict[str, list[Occupied]]


async def browse(deps: ApiDeps, customer_id: UUID, vin: str) -> dict[str, Any]:
    """The options for the customer's car, by category; Forbidden (NOT_OWNER) for another's."""
    now = deps.clock.now()
    async with deps.database.transaction() as conn:
        vehicle = await ownership.owned_vehicle(conn, vin=vin, customer_id=customer_id)
        hidden = await repository.hidden(conn, customer_id)
        offers = [
            offer
            for offer in await repository.offers(conn, vehicle.model)
            if offer.on_platform
            and offer.code not in hidden
            and offer.code not in vehicle.plan_options
        ]
        firmware = await repository.firmware(conn, vin) or vehicle.firmware_version
        shelf = Shelf(vehicle, firmware, offers, await repository.taken(conn, vin, now))
    gated = any(offer.requires_maintenance for offer in offers)
    status = await maintenance.browse_status(deps, vin) if gated else None
    return {
        "vin": vin,
        "platform": vehicle.model,
        "firmware": firmware,
        "services": [_entry(deps, shelf, offer, status, now) for offer in offers],
    }


async def read(deps: ApiDeps, service: str) -> dict[str, Any]:
    """One service, by id or code, at list prices."""
    async with deps.database.transaction() as conn:
        offer = await repository.offer(conn, None, service)
    if offer is None:
        raise NotFound("SERVICE_NOT_FOUND", "no such service")
    return {**_facts(offer), "prices": _prices(offer, Decimal(0))}


def plan_discount(plan: dict[str, Any] | None) -> Decimal:
    """The plan's discount on services, in percent (DOMAIN 4)."""
    discounts: dict[str, Any] = (plan or {}).get("discounts") or {}
    return Decimal(str(discounts.get("servicesPercent", 0)))


def _entry(
    deps: ApiDeps,
    shelf: Shelf,
    offer: Offer,
    status: dict[str, Any] | None,
    now: datetime,
) -> dict[str, Any]:
    upkeep = _maintenance(deps, offer, status)
    refusal = _refusal(shelf, offer, upkeep)
    discount = plan_discount(shelf.vehicle.plan)
    blocked = upkeep["state"] == "BLOCKED"
    return {
        **_facts(offer),
        # An option behind overdue maintenance shows its badge and no price.
        "prices": [] if blocked else _prices(offer, discount),
        "purchasable": refusal is None,
        "reason": refusal,
        "maintenance": upkeep,
        "occupied": [
            {"since": time.since, "until": time.until}
            for time in shelf.taken.get(offer.code, ())
            if time.until is None or time.until > now
        ],
    }


def _refusal(shelf: Shelf, offer: Offer, upkeep: dict[str, Any]) -> str | None:
    if not shelf.vehicle.is_operational:
        return "NOT_OPERATIONAL"
    if offer.min_firmware and not firmware_at_least(shelf.firmware, offer.min_firmware):
        return "FIRMWARE_TOO_OLD"
    if any(time.until is None for time in shelf.taken.get(offer.code, ())):
        return "CONFLICT"
    return "MAINTENANCE_REQUIRED" if upkeep["state"] == "BLOCKED" else None


def _maintenance(deps: ApiDeps, offer: Offer, status: dict[str, Any] | None) -> dict[str, Any]:
    if not offer.requires_maintenance:
        return {"state": "NOT_NEEDED"}
    if status is None:
        return {"state": CHECKED_AT_PURCHASE}
    decision = maintenance.evaluate(offer, status, deps.settings.services.workshop_url)
    if decision.allowed:
        return {"state": "OK"}
    return {"state": "BLOCKED", "reason": decision.reason, **decision.details}


def _facts(offer: Offer) -> dict[str, Any]:
    return {
        "service_id": offer.service_id,
        "code": offer.code,
        "name": offer.name,
        "category": offer.category,
        "description": offer.description,
        "requires_maintenance": offer.requires_maintenance,
        "min_firmware": offer.min_firmware,
    }


def _prices(offer: Offer, discount: Decimal) -> list[dict[str, Any]]:
    """By duration, shortest first; subscriptions are sold elsewhere."""
    found: list[dict[str, Any]] = []
    for tier in Tier:
        listed = offer.price(tier)
        if listed is not None:
            price = price_of(listed, discount)
            found.append(
                {
                    "tier": tier.value,
                    "duration_days": DURATION_DAYS[tier],
                    "price": MoneyOut.of(price),
                }
            )
    return found
