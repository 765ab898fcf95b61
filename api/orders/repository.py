"""Orders, vehicles and factory steps in the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from api.orders.lifecycle import OrderState
from api.orders.rules import OptionOnPlatform
from core.db import Connection, load_queries
from core.errors import Conflict, NotFound
from core.money import Money

SQL = load_queries("api.orders")


@dataclass(frozen=True, slots=True)
class Platform:
    """A vehicle model as it is sold today."""

    code: str
    name: str
    engine_type: str
    firmware_version: str
    base_price_minor: int
    currency: str

    @property
    def base_price(self) -> Money:
        return Money(self.base_price_minor, self.currency)


@dataclass(frozen=True, slots=True)
class Order:
    """A row of customer_order."""

    order_id: UUID
    number: str
    customer_id: UUID
    dealership_id: UUID
    status: str
    platform: str
    plan: dict[str, Any]
    total_minor: int
    deposit_minor: int
    currency: str
    delivery_address: dict[str, str]
    financing_notes: str
    from_stock: bool
    vin: str | None
    factory_order_id: str | None
    factory_status: str | None
    factory_status_at: datetime | None
    factory_error: str | None
    estimated_delivery_date: date | None
    manufacturing_location: str | None
    deposit_payment_id: UUID | None
    final_payment_id: UUID | None
    payment_complete: bool
    payment_open_at: datetime | None
    final_declines: int
    due_at: datetime | None
    ordered_at: datetime
    handed_over_at: datetime | None

    @property
    def state(self) -> OrderState:
        return OrderState(self.status)

    @property
    def total(self) -> Money:
        return Money(self.total_minor, self.currency)

    @property
    def deposit(self) -> Money:
        return Money(self.deposit_minor, self.currency)

    @property
    def balance(self) -> Money:
        """The final payment: total less deposit."""
        return self.total - self.deposit

    @property
    def plan_options(self) -> tuple[str, ...]:
        """Codes of the options the plan includes, each once."""
        return tuple(dict.fromkeys([*self.plan["initialOptions"], *self.plan["permanentOptions"]]))


@dataclass(frozen=True, slots=True)
class FactoryStep:
    """What the factory reported."""

    status: str
    at: datetime
    estimated_completion_date: date | None
    notes: str | None
    location: str | None


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """A transition of one of the order's machines."""

    machine: str
    at: datetime
    from_state: str
    event: str
    to_state: str
    detail: dict[str, Any]


async def find(conn: Connection, order_id: UUID) -> Order | None:
    return await conn.one_or_none(Order, SQL["order"], {"order_id": order_id})


async def get(conn: Connection, order_id: UUID) -> Order:
    """The order, else NotFound."""
    order = await find(conn, order_id)
    if order is None:
        raise NotFound("ORDER_NOT_FOUND", "no such order")
    return order


async def lock(conn: Connection, order_id: UUID) -> Order:
    """The order, held against other writers until the transaction ends."""
    await conn.execute(SQL["lock_order"], {"order_id": order_id})
    return await get(conn, order_id)


async def platform(conn: Connection, code: str) -> Platform | None:
    return await conn.one_or_none(Platform, SQL["platform"], {"code": code})


async def options(
    conn: Connection, platform_code: str, codes: Sequence[str]
) -> list[OptionOnPlatform]:
    return await conn.all(
        OptionOnPlatform, SQL["options"], {"platform": platform_code, "codes": list(codes)}
    )


async def insert(conn: Connection, row: Mapping[str, Any]) -> None:
    await conn.execute(
        SQL["insert_order"],
        {
            **row,
            "plan": Jsonb(row["plan"]),
            "delivery_address": Jsonb(row["delivery_address"]),
        },
    )


async def of_request(
    conn: Connection, sold_by: UUID, idempotency_key: str, digest: str
) -> Order | None:
    """The order this request has saved already; Conflict where it was another request."""
    row = {"sold_by": sold_by, "idempotency_key": idempotency_key}
    await conn.execute(SQL["lock_request"], row)
    found = await conn.dicts(SQL["order_of_request"], row)
    if not found:
        return None
    if found[0]["request_digest"] != digest:
        raise Conflict("IDEMPOTENCY_CONFLICT", "this key was used for another sale")
    return await get(conn, found[0]["order_id"])


async def of_customer(conn: Connection, customer_id: UUID) -> list[Order]:
    rows = await conn.dicts(SQL["orders_of_customer"], {"customer_id": customer_id})
    return [await get(conn, row["order_id"]) for row in rows]


async def id_by_factory_id(conn: Connection, factory_order_id: str) -> UUID | None:
    return await conn.value(SQL["order_by_factory_id"], {"factory_order_id": factory_order_id})


async def id_by_vin(conn: Connection, vin: str) -> UUID | None:
    return await conn.value(SQL["order_by_vin"], {"vin": vin})


async def steps(conn: Connection, order_id: UUID) -> list[FactoryStep]:
    return await conn.all(FactoryStep, SQL["steps"], {"order_id": order_id})


async def history(conn: Connection, order_id: UUID) -> list[HistoryRow]:
    return await conn.all(HistoryRow, SQL["history"], {"order_id": order_id})


async def run(conn: Connection, name: str, **params: Any) -> int:
    """One of the noun's plain statements by name; how many rows it touched."""
    return await conn.execute(SQL[name], params)


async def note_decline(conn: Connection, order_id: UUID, payment_id: UUID) -> bool:
    """Remember a declined payment; False where it is known, so that it counts once."""
    row = {"order_id": order_id, "payment_id": payment_id}
    return await conn.execute(SQL["note_decline"], row) == 1
