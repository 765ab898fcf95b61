"""/intranet: the dealership's side of a sale."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from api.deps import Deps, IdempotencyKey, OptionalIdempotencyKey
from api.identity.deps import Principal, SalesCaller, require
from api.orders import delivery, manufacturing, payments, registration, repository, sale, views
from api.orders.access import visible_order
from api.orders.schemas import (
    DeliveryIn,
    DeliveryOut,
    InventoryOut,
    OrderIn,
    OrderOut,
    OrderSummary,
    PaymentIn,
    PaymentOut,
    RegistrationRetryIn,
    ResubmitIn,
)
from core.contracts.states import Role
from core.errors import Invalid

router = APIRouter(prefix="/intranet", tags=["sales"])

StockReader = Annotated[Principal, Depends(require(Role.SALES, Role.ADMIN))]


@router.post("/orders", status_code=201)
async def create_order(
    body: OrderIn, deps: Deps, caller: SalesCaller, key: OptionalIdempotencyKey = None
) -> OrderOut:
    """Save a sale: customer, account, order with its deposit; once an Idempotency-Key."""
    async with deps.database.transaction() as conn:
        order = await sale.save(
            conn, body, caller, deps.settings.sale, deps.clock.now(), idempotency_key=key
        )
        return await views.order_out(conn, order)


@router.get("/orders")
async def list_orders(deps: Deps, caller: SalesCaller) -> dict[str, list[OrderSummary]]:
    """The dealership's orders, newest first."""
    async with deps.database.transaction() as conn:
        return {"orders": await views.orders_of_dealership(conn, caller.dealership)}


@router.post("/orders/{order_id}/payments")
async def take_payment(
    order_id: UUID, body: PaymentIn, key: IdempotencyKey, deps: Deps, caller: SalesCaller
) -> PaymentOut:
    """Charge the deposit or the balance; the state says whether it is CONFIRMED."""
    async with deps.database.transaction() as conn:
        order = await visible_order(conn, caller, order_id)
    outcome = await payments.pay(
        deps,
        order,
        body.type,
        payment_token=body.payment_token,
        idempotency_key=key,
        method=body.method.value,
    )
    async with deps.database.transaction() as conn:
        order = await repository.get(conn, order_id)
    return PaymentOut(
        payment_id=outcome.payment_id,
        state=outcome.state,
        error_code=outcome.error_code,
        order_status=order.state,
    )


@router.post("/orders/{order_id}/resubmit", status_code=202)
async def resubmit(order_id: UUID, body: ResubmitIn, deps: Deps, caller: SalesCaller) -> OrderOut:
    """Send the order to the factory again, or accept its definitive no."""
    async with deps.database.transaction() as conn:
        order = await visible_order(conn, caller, order_id)
        if body.give_up:
            await manufacturing.give_up(
                conn, order, actor=caller.actor, reason=body.reason, now=deps.clock.now()
            )
        else:
            await manufacturing.resubmit(conn, order)
        return await views.order_out(conn, await repository.get(conn, order_id))


@router.post("/orders/{order_id}/registration/retry", status_code=202)
async def retry_registration(
    order_id: UUID, body: RegistrationRetryIn, deps: Deps, caller: SalesCaller
) -> OrderOut:
    """File the registration again with what staff has put right."""
    async with deps.database.transaction() as conn:
        order = await visible_order(conn, caller, order_id)
        await registration.retry(conn, order, body, actor=caller.actor, now=deps.clock.now())
        return await views.order_out(conn, await repository.get(conn, order_id))


@router.put("/orders/{order_id}/delivery")
async def report_delivery(
    order_id: UUID, body: DeliveryIn, deps: Deps, caller: SalesCaller
) -> DeliveryOut:
    """Report what happened to the delivery."""
    async with deps.database.transaction() as conn:
        order = await visible_order(conn, caller, order_id)
        order = await repository.lock(conn, order.order_id)
        found = await delivery.report(
            conn,
            order,
            body,
            actor=caller.actor,
            settings=deps.settings.sale,
            now=deps.clock.now(),
        )
        return views.delivery_out(await repository.get(conn, order_id), found)


@router.get("/inventory")
async def inventory(
    deps: Deps, caller: StockReader, dealership_id: UUID | None = None
) -> InventoryOut:
    """The own dealership's vehicles; administration names the dealership."""
    if caller.role is Role.SALES:
        dealership_id = caller.dealership
    if dealership_id is None:
        raise Invalid("DEALERSHIP_MISSING", "name a dealership_id")
    async with deps.database.transaction() as conn:
        return await views.inventory(conn, dealership_id)
