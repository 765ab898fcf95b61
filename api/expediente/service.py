"""The purchase file, read from every noun that keeps a part of it."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel

from api.billing import lookup
from api.customers import service as customers
from api.orders import ownership, views
from api.orders.ownership import OwnedVehicle
from api.orders.vehicle_status import vehicle_status
from core.db import Connection


async def purchase_file(conn: Connection, customer_id: UUID) -> dict[str, Any]:
    """Customer, vehicles with their services, orders with timelines, papers, money."""
    orders = await views.orders_of_customer(conn, customer_id)
    timelines = [await views.timeline(conn, order.order_id) for order in orders]
    vehicles = await ownership.vehicles_of(conn, customer_id)
    return {
        "customer": _json(customers.view(await customers.get(conn, customer_id))),
        "vehicles": [await _vehicle(conn, vehicle) for vehicle in vehicles],
        "orders": [_json(order) for order in orders],
        "timelines": [_json(timeline) for timeline in timelines],
        "registrations": await views.registrations_of_customer(conn, customer_id),
        "payments": await lookup.payments_of(conn, customer_id),
        "invoices": await lookup.invoices_of(conn, customer_id),
    }


async def _vehicle(conn: Connection, vehicle: OwnedVehicle) -> dict[str, Any]:
    status = await vehicle_status(conn, vehicle)
    return {**status, "planOptions": vehicle.plan_options}


def _json(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True)
