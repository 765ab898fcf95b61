"""Customers and dealerships: kept and looked up. Services never commit."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from api.customers.schemas import AddressBody, CustomerIn, CustomerOut
from core.db import Connection, load_queries
from core.db.errors import UniqueConflict
from core.errors import Conflict, NotFound
from core.ids import new_id

_SQL = load_queries("api.customers")


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer; ``address`` is {street, city, postal_code, country}."""

    customer_id: UUID
    code: str
    name: str
    email: str
    phone: str
    address: dict[str, str]
    tax_id: str
    language: str
    time_zone: str

    @property
    def country(self) -> str:
        return self.address["country"]


@dataclass(frozen=True, slots=True)
class Dealership:
    """A dealership (concesionario)."""

    dealership_id: UUID
    code: str
    name: str
    address: dict[str, str]
    authorization_number: str


async def create(conn: Connection, body: CustomerIn) -> Customer:
    """A new customer; Conflict (CUSTOMER_EXISTS) where the e-mail address is known."""
    customer_id = new_id()
    row: dict[str, Any] = body.model_dump() | {
        "customer_id": customer_id,
        "address": Jsonb(body.address.model_dump()),
    }
    try:
        await conn.execute(_SQL["insert"], row)
    except UniqueConflict:
        raise Conflict("CUSTOMER_EXISTS", "a customer has this e-mail address already") from None
    return await get(conn, customer_id)


async def get(conn: Connection, customer_id: UUID) -> Customer:
    """The customer, else NotFound."""
    found = await conn.one_or_none(Customer, _SQL["by_id"], {"customer_id": customer_id})
    if found is None:
        raise NotFound("CUSTOMER_NOT_FOUND", "no such customer")
    return found


async def dealership(conn: Connection, dealership_id: UUID) -> Dealership:
    """The dealership, else NotFound."""
    found = await conn.one_or_none(Dealership, _SQL["dealership"], {"dealership_id": dealership_id})
    if found is None:
        raise NotFound("DEALERSHIP_NOT_FOUND", "no such dealership")
    return found


async def correct_tax_id(conn: Connection, customer_id: UUID, tax_id: str, at: datetime) -> None:
    """Staff corrects what an authority refused."""
    await conn.execute(_SQL["set_tax_id"], {"customer_id": customer_id, "tax_id": tax_id, "at": at})


def view(customer: Customer) -> CustomerOut:
    """The customer as the API shows it."""
    return CustomerOut(
        customer_id=customer.customer_id,
        code=customer.code,
        name=customer.name,
        email=customer.email,
        phone=customer.phone,
        address=AddressBody(**customer.address),
        tax_id=customer.tax_id,
        language=customer.language,
        time_zone=customer.time_zone,
    )
