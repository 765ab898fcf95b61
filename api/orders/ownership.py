"""Whose vehicle is it, and how far is its sale: what other nouns ask of orders."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from core.db import Connection, load_queries
from core.errors import Forbidden

_SQL = load_queries("api.orders", "ownership.sql")


@dataclass(frozen=True, slots=True)
class OwnedVehicle:
    """A customer's vehicle with the state of its order; a transferred one has no order."""

    vin: str
    model: str
    firmware_version: str
    engine_type: str
    customer_id: UUID
    dealership_id: UUID
    order_id: UUID | None
    order_status: str | None
    plan: dict[str, Any] | None

    @property
    def plan_options(self) -> tuple[str, ...]:
        """Codes of the options the commercial plan includes (initial and permanent)."""
        plan = self.plan or {}
        codes = [*plan.get("initialOptions", ()), *plan.get("permanentOptions", ())]
        return tuple(dict.fromkeys(codes))

    @property
    def is_operational(self) -> bool:
        """True once delivered and linked (DOMAIN 10), or taken over from a former owner."""
        return self.order_status in (None, "OPERATIONAL")


async def has_purchase(conn: Connection, customer_id: UUID) -> bool:
    """True for who ever bought, or took over, a vehicle (DOMAIN 2, login check)."""
    return bool(await conn.value(_SQL["has_purchase"], {"customer_id": customer_id}))


async def owned_vehicle(conn: Connection, *, vin: str, customer_id: UUID) -> OwnedVehicle:
    """The customer's vehicle; Forbidden (NOT_OWNER) for another's VIN as for one unknown."""
    vehicle = await conn.one_or_none(
        OwnedVehicle, _SQL["owned_vehicle"], {"vin": vin, "customer_id": customer_id}
    )
    if vehicle is None:
        raise Forbidden("NOT_OWNER", "this is not your vehicle")
    return vehicle


async def vehicles_of(conn: Connection, customer_id: UUID) -> list[OwnedVehicle]:
    """Every vehicle of the customer."""
    return await conn.all(OwnedVehicle, _SQL["vehicles_of"], {"customer_id": customer_id})
