"""A vehicle as its owner's app shows it, from the views of gateway and engine."""

from typing import Any

from api.orders.ownership import OwnedVehicle
from core.db import Connection, load_queries

_SQL = load_queries("api.orders", "vehicle_status.sql")


async def vehicle_status(conn: Connection, vehicle: OwnedVehicle) -> dict[str, Any]:
    """Connectivity, last report, services; OFFLINE where the gateway does not know it yet."""
    rows = await conn.dicts(_SQL["vehicle"], {"vin": vehicle.vin})
    seen = rows[0] if rows else {}
    linked = await conn.value(
        _SQL["linked"], {"vin": vehicle.vin, "customer_id": vehicle.customer_id}
    )
    return {
        "vin": vehicle.vin,
        "model": vehicle.model,
        "orderStatus": vehicle.order_status,
        "linked": bool(linked),
        "connectivity": seen.get("presence", "OFFLINE"),
        "lastSeen": seen.get("last_seen_at"),
        "operational": seen.get("operational"),
        "networkSignalStrength": seen.get("signal_pct"),
        "firmwareVersion": seen.get("firmware", vehicle.firmware_version),
        "status": seen.get("status"),
        "statusAt": seen.get("status_at"),
        "services": await services_of(conn, vehicle.vin),
    }


async def services_of(conn: Connection, vin: str) -> list[dict[str, Any]]:
    """The vehicle's activations, newest first."""
    return await conn.dicts(_SQL["activations"], {"vin": vin})
