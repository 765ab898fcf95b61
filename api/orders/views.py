"""An order, its timeline and a dealership's stock as the API shows them."""

from typing import Any
from uuid import UUID

from api.orders import delivery, registration, repository
from api.orders.delivery import Delivery
from api.orders.lifecycle import DeliveryState, RegistrationState
from api.orders.repository import Order
from api.orders.schemas import (
    DeliveryOut,
    InventoryOut,
    OrderOut,
    OrderSummary,
    TimelineItem,
    TimelineOut,
    VehicleOut,
)
from core.db import Connection

_LISTED = 200


async def order_out(conn: Connection, order: Order) -> OrderOut:
    """The order with where its registration and delivery stand."""
    case = await registration.find(conn, order.order_id)
    trip = await delivery.find(conn, order.order_id)
    names = set(OrderOut.model_fields) & set(Order.__slots__)
    return OrderOut.model_validate(
        {name: getattr(order, name) for name in names}
        | {
            "balance_minor": order.balance.minor,
            "license_plate": case.license_plate if case else None,
            "registration_state": RegistrationState(case.state) if case else None,
            "delivery_state": DeliveryState(trip.state) if trip else None,
        }
    )


def for_customer(order: OrderOut) -> OrderOut:
    """Without what is between the factory and us: an error's text is for staff."""
    return order.model_copy(update={"factory_error": None})


async def timeline(conn: Connection, order_id: UUID) -> TimelineOut:
    """Factory steps and every transition, oldest first."""
    items = [
        TimelineItem(
            at=step.at,
            kind="factory",
            status=step.status,
            notes=step.notes,
            location=step.location,
            estimated_completion_date=step.estimated_completion_date,
        )
        for step in await repository.steps(conn, order_id)
    ]
    items += [
        TimelineItem(at=row.at, kind=row.machine, status=row.to_state, event=row.event)
        for row in await repository.history(conn, order_id)
    ]
    return TimelineOut(order_id=order_id, items=sorted(items, key=lambda item: item.at))


async def inventory(conn: Connection, dealership_id: UUID) -> InventoryOut:
    """The dealership's vehicles; ``inStock`` counts those for sale."""
    rows = await conn.dicts(repository.SQL["inventory"], {"dealership_id": dealership_id})
    vehicles = [VehicleOut.model_validate(row) for row in rows]
    return InventoryOut(
        dealership_id=dealership_id,
        in_stock=sum(vehicle.available_for_sale for vehicle in vehicles),
        vehicles=vehicles,
    )


async def orders_of_dealership(conn: Connection, dealership_id: UUID) -> list[OrderSummary]:
    """The dealership's newest orders."""
    rows = await conn.dicts(
        repository.SQL["orders_of_dealership"],
        {"dealership_id": dealership_id, "limit": _LISTED},
    )
    return [OrderSummary.model_validate(row) for row in rows]


async def orders_of_customer(conn: Connection, customer_id: UUID) -> list[OrderOut]:
    """Every order of the customer, oldest first."""
    return [
        for_customer(await order_out(conn, order))
        for order in await repository.of_customer(conn, customer_id)
    ]


async def registrations_of_customer(conn: Connection, customer_id: UUID) -> list[dict[str, Any]]:
    """Registration papers for the purchase file."""
    papers: list[dict[str, Any]] = []
    for order in await repository.of_customer(conn, customer_id):
        case = await registration.find(conn, order.order_id)
        if case is not None and case.license_plate is not None:
            papers.append(
                {
                    "vin": case.vin,
                    "licensePlate": case.license_plate,
                    "registrationNumber": case.registration_number,
                    "registrationDate": case.registration_date,
                    "expiryDate": case.expiry_date,
                    "certificateUrl": case.certificate_url,
                    "environmentalBadge": case.environmental_badge,
                }
            )
    return papers


def delivery_out(order: Order, found: Delivery) -> DeliveryOut:
    """A delivery as staff see it."""
    return DeliveryOut(
        order_id=order.order_id,
        order_status=order.state,
        mode=found.mode,
        state=DeliveryState(found.state),
        attempts=found.attempts,
        transport_company=found.transport_company,
        scheduled_at=found.scheduled_at,
    )
