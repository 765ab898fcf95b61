"""The customer's catalogue, purchases, activations and withdrawals (DOMAIN 16)."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api.billing.schemas import MoneyOut
from api.deps import Deps, IdempotencyKey
from api.identity.deps import CurrentPrincipal, CustomerCaller
from api.services import activations, catalogue, purchase, withdrawal
from api.services.purchase import Order
from api.services.schemas import (
    ActivationOut,
    ActivationsOut,
    CancelIn,
    CancelOut,
    CatalogueOut,
    PurchaseIn,
    PurchaseOut,
    ScheduleKind,
    ServiceOut,
)
from core.contracts.states import Role
from core.errors import Invalid, NotFound
from core.ids import parse_vin

router = APIRouter(tags=["services"])


@router.get("/services/catalog")
async def catalog(
    caller: CustomerCaller, deps: Deps, vin: Annotated[str, Query(max_length=20)]
) -> CatalogueOut:
    """The options for one of the customer's cars, with prices and what stands in the way."""
    found = await catalogue.browse(deps, caller.customer, parse_vin(vin))
    return CatalogueOut.model_validate(found)


@router.post("/services/purchase", status_code=202)
async def buy(
    body: PurchaseIn, key: IdempotencyKey, caller: CustomerCaller, deps: Deps
) -> PurchaseOut:
    """Buy a service; needs an Idempotency-Key. 402, 403, 409, 422 and 503 as DOMAIN 16 says."""
    if body.schedule.type is ScheduleKind.RECURRING:
        raise Invalid("NOT_AVAILABLE_YET", "recurring schedules are not sold yet")
    accepted = await purchase.buy(
        deps,
        Order(
            customer_id=caller.customer,
            vin=parse_vin(body.vin),
            service=body.service_id,
            tier=body.tier,
            starts_at=body.schedule.starts_at,
            payment_token=body.payment_token,
            idempotency_key=key,
        ),
    )
    return PurchaseOut(activation_id=accepted.activation_id, state=accepted.state)


@router.get("/services/{service_id}")
async def read_service(service_id: str, caller: CurrentPrincipal, deps: Deps) -> ServiceOut:
    """One service, by its id or code, at list prices."""
    return ServiceOut.model_validate(await catalogue.read(deps, service_id))


@router.post("/services/{activation_id}/cancel")
async def cancel(
    activation_id: UUID, caller: CustomerCaller, deps: Deps, body: CancelIn | None = None
) -> CancelOut:
    """Cancel before it is on, or withdraw within the window; asking again changes nothing."""
    async with deps.database.transaction() as conn:
        verdict = await withdrawal.cancel(
            conn, deps, activation_id, caller.customer, body.reason if body else None
        )
    return CancelOut(
        eligibility="ELIGIBLE" if verdict.eligible else "INELIGIBLE",
        refund_amount=MoneyOut.of(verdict.refund),
    )


@router.get("/activations")
async def list_activations(
    caller: CustomerCaller, deps: Deps, vin: str | None = None
) -> ActivationsOut:
    """The customer's activations, newest first."""
    async with deps.database.transaction() as conn:
        found = await activations.list_of(conn, caller.customer, parse_vin(vin) if vin else None)
    return ActivationsOut(activations=found)


@router.get("/activations/{activation_id}")
async def read_activation(
    activation_id: UUID, caller: CurrentPrincipal, deps: Deps
) -> ActivationOut:
    """State, attempts, history, payment and ticket: the customer's own, or any for support."""
    if caller.role not in (Role.CUSTOMER, Role.SUPPORT):
        raise NotFound("ACTIVATION_NOT_FOUND", "no such activation")
    async with deps.database.transaction() as conn:
        return await activations.read(conn, activation_id, caller.customer_id)
