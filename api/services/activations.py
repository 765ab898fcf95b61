"""How far a purchase is: the engine's view, and before it has one the purchase's row."""

from typing import Any
from uuid import UUID

from api.billing import service as billing
from api.billing.schemas import MoneyOut
from api.services import repository
from api.services.lifecycle import PurchaseState
from api.services.repository import Activation, Purchase
from api.services.rules import Tier
from api.services.schemas import (
    ActivationOut,
    ActivationSummary,
    AttemptOut,
    HistoryOut,
)
from core.contracts.states import ActivationState, Origin
from core.db import Connection
from core.errors import NotFound

# What the buyer's row means while the engine has none.
_BEFORE_ENGINE = {
    PurchaseState.MAINTENANCE_CHECK: ActivationState.PURCHASE_INITIATED,
    PurchaseState.BLOCKED: ActivationState.PURCHASE_INITIATED,
    PurchaseState.PURCHASABLE: ActivationState.PAYMENT_FAILED,
    PurchaseState.PAYMENT: ActivationState.PAYMENT_PENDING,
    PurchaseState.QUEUED: ActivationState.QUEUED,
}


async def read(conn: Connection, activation_id: UUID, customer_id: UUID | None) -> ActivationOut:
    """One activation; NotFound for another customer's. ``customer_id`` None = staff."""
    purchase = await repository.purchase(conn, activation_id)
    activation = await repository.activation(conn, activation_id)
    owner = purchase.customer_id if purchase else activation.customer_id if activation else None
    if (purchase is None and activation is None) or customer_id not in (None, owner):
        raise NotFound("ACTIVATION_NOT_FOUND", "no such activation")
    payment_id = _either(activation, purchase, "payment_id")
    return ActivationOut(
        activation_id=activation_id,
        vin=_either(activation, purchase, "vin"),
        service_code=_either(activation, purchase, "service_code"),
        state=state_of(
            activation.state if activation else None, purchase.state if purchase else None
        ),
        origin=activation.origin if activation else Origin.PURCHASE,
        tier=Tier(purchase.tier) if purchase else None,
        duration_days=_either(activation, purchase, "duration_days"),
        price=MoneyOut.of(purchase.amount) if purchase else None,
        starts_at=_either(activation, purchase, "starts_at"),
        purchased_at=_either(activation, purchase, "purchased_at"),
        queued_at=activation.queued_at if activation else None,
        activated_at=activation.activated_at if activation else None,
        expires_at=activation.expires_at if activation else None,
        cancelled_at=activation.cancelled_at if activation else None,
        total_attempts=activation.total_attempts if activation else 0,
        ticket_number=activation.ticket_number if activation else None,
        final_result=activation.final_result if activation else None,
        charged=activation.charged if activation else False,
        reason=activation.reason if activation else None,
        payment_id=payment_id,
        payment_state=await billing.state_of(conn, payment_id) if payment_id else None,
        refusal=purchase.refusal if purchase else None,
        switch_off_state=activation.switch_off_state if activation else None,
        attempts=[
            AttemptOut.model_validate(row) for row in await repository.attempts(conn, activation_id)
        ],
        history=[
            HistoryOut.model_validate(row)
            for row in await repository.activation_history(conn, activation_id)
        ],
    )


async def list_of(conn: Connection, customer_id: UUID, vin: str | None) -> list[ActivationSummary]:
    """The customer's activations, newest first, of one car or of all."""
    return [
        ActivationSummary(
            activation_id=row["activation_id"],
            vin=row["vin"],
            service_code=row["service_code"],
            state=state_of(row["state"], row["purchase_state"]),
            origin=row["origin"] or Origin.PURCHASE,
            purchased_at=row["purchased_at"],
            activated_at=row["activated_at"],
            expires_at=row["expires_at"],
        )
        for row in await repository.activations_of(conn, customer_id, vin)
    ]


def state_of(activation: str | None, purchase: str | None) -> ActivationState:
    """The engine's word first."""
    if activation is not None:
        return ActivationState(activation)
    assert purchase is not None, "one of both is there"
    return _BEFORE_ENGINE[PurchaseState(purchase)]


def _either(activation: Activation | None, purchase: Purchase | None, name: str) -> Any:
    return getattr(activation if activation is not None else purchase, name)
