"""Saving a sale: customer, account, order, deposit (DOMAIN 10, first row). Never commits."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from api.customers import service as customers
from api.customers.service import Customer
from api.identity import service as identity
from api.identity.principal import Principal
from api.orders import repository, rules
from api.orders.lifecycle import OrderState
from api.orders.repository import Order, Platform
from api.orders.schemas import OrderIn, PlanIn
from api.orders.settings import SaleSettings
from api.orders.transitions import note_start
from core.contracts.jobs import Notify
from core.db import Connection
from core.errors import Conflict, Invalid
from core.ids import new_id, parse_vin
from core.jobs import defer


@dataclass(frozen=True, slots=True)
class Price:
    """Total and deposit in minor units."""

    total_minor: int
    deposit_minor: int
    currency: str


async def save(
    conn: Connection,
    body: OrderIn,
    seller: Principal,
    settings: SaleSettings,
    now: datetime,
    *,
    idempotency_key: str | None = None,
) -> Order:
    """The order in SALE_REGISTERED; the customer's account and its credentials mail with it.

    The same ``idempotency_key`` of the same seller gives the same order; Conflict where it comes
    with another body.
    """
    digest = _digest(body)
    if idempotency_key is not None:
        saved = await repository.of_request(conn, seller.employee, idempotency_key, digest)
        if saved is not None:
            return saved
    platform = await _platform(conn, body.platform)
    await _check_plan(conn, platform, body.plan)
    customer = await _customer(conn, body)
    price = _price(platform, body.plan, settings)
    vin = await _hold_stock(conn, body, platform, seller, now)
    order_id = new_id()
    await repository.insert(
        conn,
        {
            "order_id": order_id,
            "customer_id": customer.customer_id,
            "dealership_id": seller.dealership,
            "sold_by": seller.employee,
            "status": OrderState.SALE_REGISTERED.value,
            "platform": platform.code,
            "plan": frozen_plan(body.plan, platform.code),
            "total_minor": price.total_minor,
            "deposit_minor": price.deposit_minor,
            "currency": price.currency,
            "delivery_address": body.delivery_address.model_dump(),
            "financing_notes": body.financing_notes,
            "from_stock": vin is not None,
            "vin": vin,
            "due_at": now + timedelta(seconds=settings.deposit_deadline_s),
            "ordered_at": now,
            "idempotency_key": idempotency_key,
            "request_digest": digest,
        },
    )
    await note_start(
        conn, "order", order_id, OrderState.SALE_REGISTERED, at=now, actor=seller.actor
    )
    await _open_account(conn, customer)
    return await repository.get(conn, order_id)


def _digest(body: OrderIn) -> str:
    return hashlib.sha256(body.model_dump_json().encode()).hexdigest()


def frozen_plan(plan: PlanIn, platform: str) -> dict[str, Any]:
    """The plan as it is kept with the order: camelCase JSON, percents as decimal strings."""
    return {"platformBase": platform, **plan.model_dump(mode="json", by_alias=True)}


async def _platform(conn: Connection, code: str) -> Platform:
    platform = await repository.platform(conn, code)
    if platform is None:
        raise Invalid("UNKNOWN_PLATFORM", f"there is no platform {code}")
    return platform


async def _check_plan(conn: Connection, platform: Platform, plan: PlanIn) -> None:
    wanted = [*plan.initial_options, *plan.permanent_options]
    known = await repository.options(conn, platform.code, wanted)
    unfit = rules.unfit_options(wanted, known, platform.firmware_version)
    if unfit:
        raise Invalid(
            "INVALID_PLAN", "the plan has options the car cannot have", details={"options": unfit}
        )


async def _customer(conn: Connection, body: OrderIn) -> Customer:
    if body.customer is not None:
        return await customers.create(conn, body.customer)
    assert body.customer_id is not None
    return await customers.get(conn, body.customer_id)


def _price(platform: Platform, plan: PlanIn, settings: SaleSettings) -> Price:
    total = rules.total_price(platform.base_price, plan.discounts.vehicle_percent)
    deposit = total.percent(settings.deposit_percent)
    return Price(total.minor, deposit.minor, total.currency)


async def _hold_stock(
    conn: Connection, body: OrderIn, platform: Platform, seller: Principal, now: datetime
) -> str | None:
    """Take the stock vehicle out of sale; Conflict where it is not there to be sold."""
    if body.stock_vin is None:
        return None
    vin = parse_vin(body.stock_vin)
    held = await repository.run(
        conn,
        "hold_stock",
        vin=vin,
        dealership_id=seller.dealership,
        model=platform.code,
        at=now,
    )
    if held == 0:
        raise Conflict("NOT_IN_STOCK", "this vehicle is not for sale here")
    return vin


async def _open_account(conn: Connection, customer: Customer) -> UUID:
    """The customer's account; a first sale makes it and has its credentials e-mailed."""
    known = await identity.user_of_customer(conn, customer.customer_id)
    if known is not None:
        return known
    user_id = await identity.create_customer_account(
        conn, customer_id=customer.customer_id, email=customer.email
    )
    # The password is made by the job that sends it: a job's payload is stored in clear.
    await defer(
        conn,
        Notify(
            event="credentials",
            dedupe_key=f"credentials:{user_id}",
            customer_id=customer.customer_id,
            data={"user_id": str(user_id)},
        ),
    )
    return user_id
