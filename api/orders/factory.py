"""The factory's HTTP API: placing an order (DOMAIN 10)."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from api.orders.repository import Order
from api.partners.http import PartnerClient, PartnerUnavailable

_CREATED = 201
_CREDENTIALS = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Accepted:
    """The factory builds it."""

    order_id: str
    status: str
    estimated_delivery_date: date | None
    manufacturing_location: str | None


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """It does not, for now: staff must look. ``alert``: our own fault, not the order's."""

    code: str
    message: str
    alert: bool = False


async def place(
    client: PartnerClient, order: Order, dealership_code: str
) -> Accepted | NotAccepted:
    """Order the car; the key is the order's, so that a lost answer orders no second car."""
    try:
        response = await client.request(
            "POST",
            "/api/v1/orders",
            operation="place_order",
            json=_body(order, dealership_code),
            idempotency_key=str(order.order_id),
        )
    except PartnerUnavailable as error:
        return NotAccepted("FACTORY_UNAVAILABLE", error.message)
    if response.status_code in _CREDENTIALS:
        return NotAccepted("FACTORY_CREDENTIALS", "the factory refuses our token", alert=True)
    try:
        answer: dict[str, Any] = response.json()
        if response.status_code != _CREATED:
            return NotAccepted(
                str(answer.get("error_code", "REJECTED")), str(answer.get("message", ""))
            )
        return _accepted(answer)
    except (ValueError, TypeError, KeyError, AttributeError):
        return NotAccepted("FACTORY_UNREADABLE", f"answer {response.status_code} is not readable")


def _accepted(answer: dict[str, Any]) -> Accepted:
    estimated = answer.get("estimated_delivery_date")
    return Accepted(
        order_id=str(answer["order_id"]),
        status=str(answer["status"]),
        estimated_delivery_date=date.fromisoformat(estimated) if estimated else None,
        manufacturing_location=answer.get("manufacturing_location"),
    )


def _body(order: Order, dealership_code: str) -> dict[str, Any]:
    plan = order.plan
    return {
        "customer_id": str(order.customer_id),
        "vehicle_specification": {
            "platform_base": order.platform,
            "initial_options": plan["initialOptions"],
            "color": plan["color"],
            "interior": plan["interior"],
        },
        "dealership_id": dealership_code,
        "delivery_address": order.delivery_address,
        "plan_comercial": {
            "maintenance_included": plan["maintenanceIncluded"],
            "warranty_years": plan["warrantyYears"],
            "opciones_permanentes": plan["permanentOptions"],
        },
    }
