"""`/factory`: the contract of DOMAIN 10, and the lot the cars come from."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header

from partner_sims.bearer import factory_caller
from partner_sims.factory import rules, service
from partner_sims.factory.schemas import OrderIn, VinPoolIn
from partner_sims.sims import SimsDep

router = APIRouter(prefix="/factory", tags=["factory"])


@router.post("/api/v1/orders", status_code=201, dependencies=[Depends(factory_caller)])
async def place_order(
    body: OrderIn,
    sims: SimsDep,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:
    """Order a car; the same Idempotency-Key answers with the same order."""
    with sims.store.transaction():
        # Apart from the order, whose refusal would undo the count.
        declined = sims.faults.take("factory", ("decline",), body.model_dump_json())
    with sims.store.transaction():
        order = service.place(sims, body, idempotency_key, declined)
    return {
        "order_id": order.order_id,
        "status": order.status,
        "estimated_delivery_date": order.estimated_delivery_date,
        "manufacturing_location": order.manufacturing_location,
        "created_at": order.created_at,
    }


@router.get("/api/v1/orders/{order_id}/status", dependencies=[Depends(factory_caller)])
async def order_status(order_id: str, sims: SimsDep) -> dict[str, Any]:
    """Where an order stands, and how it came there."""
    order = service.find(sims, order_id)
    return {
        "order_id": order.order_id,
        "status": order.status,
        "status_history": [asdict(step) for step in service.steps(sims, order_id)],
        "estimated_delivery_date": order.estimated_delivery_date,
        "current_location": rules.location(order.status, order.dealership_id),
        **service.shipment(order),
    }


@router.post("/_control/vin-pool")
async def add_to_pool(body: VinPoolIn, sims: SimsDep) -> dict[str, Any]:
    """Put built cars on the lot; repeating it changes nothing."""
    with sims.store.transaction():
        added = service.add_vins(sims, body)
    free = sum(
        1 for car in service.pool(sims) if car.platform == body.platform and car.order_id is None
    )
    return {"platform": body.platform, "added": added, "free": free}


@router.get("/_control/vin-pool")
async def list_pool(sims: SimsDep) -> dict[str, Any]:
    """Every car on the lot, and which order took it."""
    return {"vehicles": [asdict(car) for car in service.pool(sims)]}
