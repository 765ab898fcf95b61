"""/orders and /mobile/vehicles: the customer's side of a sale."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path

from api.deps import Deps, IdempotencyKey
from api.identity.deps import CurrentPrincipal, CustomerCaller
from api.orders import linking, ownership, payments, repository, views
from api.orders.access import visible_order
from api.orders.schemas import (
    FinalPaymentIn,
    LinkOut,
    OrderOut,
    PaymentMethod,
    PaymentOut,
    PaymentType,
    TimelineOut,
)
from api.orders.vehicle_status import vehicle_status
from core.contracts.states import Role
from core.ids import parse_vin

router = APIRouter(tags=["orders"])

Vin = Annotated[str, Path(min_length=17, max_length=17)]


@router.get("/orders/{order_id}")
async def read_order(order_id: UUID, deps: Deps, caller: CurrentPrincipal) -> OrderOut:
    """An order: the customer's own, or one of the dealership's."""
    async with deps.database.transaction() as conn:
        found = await views.order_out(conn, await visible_order(conn, caller, order_id))
    return views.for_customer(found) if caller.role is Role.CUSTOMER else found


@router.get("/orders/{order_id}/timeline")
async def read_timeline(order_id: UUID, deps: Deps, caller: CurrentPrincipal) -> TimelineOut:
    """What happened to it, oldest first."""
    async with deps.database.transaction() as conn:
        order = await visible_order(conn, caller, order_id)
        return await views.timeline(conn, order.order_id)


@router.post("/orders/{order_id}/final-payment")
async def final_payment(
    order_id: UUID, body: FinalPaymentIn, key: IdempotencyKey, deps: Deps, caller: CustomerCaller
) -> PaymentOut:
    """Pay the balance; a definitive decline ends the sale (DOMAIN 10)."""
    async with deps.database.transaction() as conn:
        order = await visible_order(conn, caller, order_id)
    outcome = await payments.pay(
        deps,
        order,
        PaymentType.FINAL,
        payment_token=body.payment_token,
        idempotency_key=key,
        method=PaymentMethod.ONLINE.value,
    )
    async with deps.database.transaction() as conn:
        order = await repository.get(conn, order_id)
    return PaymentOut(
        payment_id=outcome.payment_id,
        state=outcome.state,
        error_code=outcome.error_code,
        order_status=order.state,
    )


@router.post("/mobile/vehicles/{vin}/link", status_code=202, tags=["app"])
async def link_vehicle(vin: Vin, deps: Deps, caller: CustomerCaller) -> LinkOut:
    """Ask the car to be linked with the caller's app; the driver confirms on its screen."""
    async with deps.database.transaction() as conn:
        link = await linking.ask(
            conn,
            vin=parse_vin(vin),
            customer_id=caller.customer,
            valid_s=deps.settings.sale.link_code_s,
            now=deps.clock.now(),
        )
    return LinkOut(
        link_id=link.link_id,
        vin=link.vin,
        state=link.state,
        code=link.code,
        expires_at=link.expires_at,
    )


@router.get("/mobile/vehicles/{vin}/status", tags=["app"])
async def read_status(vin: Vin, deps: Deps, caller: CustomerCaller) -> dict[str, Any]:
    """Presence, last report and services of the caller's own vehicle."""
    async with deps.database.transaction() as conn:
        vehicle = await ownership.owned_vehicle(
            conn, vin=parse_vin(vin), customer_id=caller.customer
        )
        return await vehicle_status(conn, vehicle)
