"""Buying a service: the checks of DOMAIN 6 in order, then the hold, then the order to deliver.

The payment and its purchase are committed before the gateway is asked; what it answers is written
in one transaction with the job that delivers. Whoever dies between is followed by `CheckPayment`.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from api.billing import service as billing
from api.billing.repository import Payment
from api.billing.service import FollowUp, PaymentOutcome
from api.deps import ApiDeps
from api.orders import ownership
from api.services import maintenance, repository
from api.services.catalogue import plan_discount
from api.services.gate import GateDecision
from api.services.lifecycle import PurchaseEvent, PurchaseState
from api.services.repository import NewPurchase, Offer, Purchase
from api.services.rules import (
    DURATION_DAYS,
    Candidate,
    Occupied,
    Tier,
    first_refusal,
    occupied,
    overlaps,
    price_of,
)
from core.contracts.jobs import RequestActivation
from core.contracts.states import ActivationState, Origin, PaymentState
from core.db import Connection
from core.db.errors import UniqueConflict
from core.errors import Conflict, Declined, DomainError, Forbidden, Invalid, NotFound
from core.ids import new_id
from core.jobs import defer
from core.money import Money

ACTOR = "customer"


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer asks for; ``starts_at`` None = at once."""

    customer_id: UUID
    vin: str
    service: str
    tier: Tier
    starts_at: datetime | None
    payment_token: str
    idempotency_key: str

    @property
    def digest(self) -> str:
        """The same request has the same digest, so a repeated key is told from a reused one."""
        starts = self.starts_at.isoformat() if self.starts_at else None
        parts = [self.vin, self.service, self.tier.value, starts, self.payment_token]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a purchase: where to look, and how far it is."""

    activation_id: UUID
    state: ActivationState


@dataclass(frozen=True, slots=True)
class _Case:
    offer: Offer
    price: Money


async def buy(deps: ApiDeps, order: Order) -> Accepted:
    """Buy a service; DomainError with a code of DOMAIN 16 where that cannot be.

    The same key and order again gives the same answer and moves no money.
    """
    async with deps.database.transaction() as conn:
        earlier = await _earlier(conn, order)
        try:
            case = None if earlier else await _examine(conn, deps, order)
        except Conflict:
            # The same request, sent at the same time, may be what it is in conflict with.
            case, earlier = None, await _earlier(conn, order)
            if earlier is None:
                raise
    if earlier is not None or case is None:
        return _answer_of(earlier)
    decision = await maintenance.live_decision(deps, order.vin, case.offer)
    try:
        async with deps.database.transaction() as conn:
            payment, purchase = await _open(conn, deps, order, decision)
    except UniqueConflict as error:
        return await _lost_race(deps, order, error)
    if payment is not None:
        await billing.submit(deps, payment, follow_up(deps))
        async with deps.database.transaction() as conn:
            purchase = await repository.purchase(conn, purchase.activation_id)
    return _answer_of(purchase)


def follow_up(deps: ApiDeps) -> FollowUp:
    """What a purchase does once its hold is authorised or declined, in that transaction."""

    async def follow(conn: Connection, payment: Payment, outcome: PaymentOutcome) -> None:
        purchase = await repository.purchase(conn, payment.target)
        assert purchase is not None, "a service's payment is for a purchase"
        if outcome.state is PaymentState.AUTHORIZED:
            await _queue(conn, deps, purchase, payment)
        else:
            refusal = {"code": "PAYMENT_DECLINED", "details": {"reason": outcome.error_code}}
            await repository.move(
                conn,
                purchase.activation_id,
                PurchaseEvent.REJECTED,
                at=deps.clock.now(),
                actor="gateway",
                refusal=refusal,
            )

    return follow


async def _queue(conn: Connection, deps: ApiDeps, purchase: Purchase, payment: Payment) -> None:
    await repository.move(
        conn,
        purchase.activation_id,
        PurchaseEvent.AUTHORISED,
        at=deps.clock.now(),
        actor="gateway",
    )
    await defer(
        conn,
        RequestActivation(
            activation_id=purchase.activation_id,
            vin=purchase.vin,
            service_code=purchase.service_code,
            origin=Origin.PURCHASE,
            purchased_at=purchase.purchased_at,
            customer_id=purchase.customer_id,
            payment_id=payment.payment_id,
            duration_days=purchase.duration_days,
            starts_at=purchase.starts_at,
        ),
    )


def _check_schedule(deps: ApiDeps, order: Order) -> None:
    if order.starts_at is None:
        return
    now = deps.clock.now()
    if order.starts_at <= now:
        raise Invalid("START_IN_THE_PAST", "a planned start lies in the future")
    days = deps.settings.services.hold_max_days
    if order.starts_at > now + timedelta(days=days):
        raise Invalid("NOT_AVAILABLE_YET", f"a start can be planned {days} days ahead at most")


async def _examine(conn: Connection, deps: ApiDeps, order: Order) -> _Case:
    """Every check that needs nobody else, in the order of DOMAIN 6; the first refusal is raised."""
    now = deps.clock.now()
    _check_schedule(deps, order)
    try:
        vehicle = await ownership.owned_vehicle(conn, vin=order.vin, customer_id=order.customer_id)
    except Forbidden:
        vehicle = None
    offer = await repository.offer(conn, vehicle.model if vehicle else None, order.service)
    if offer is None:
        raise NotFound("SERVICE_NOT_FOUND", "no such service")
    listed = offer.price(order.tier)
    if listed is None:
        raise Invalid("TIER_NOT_SOLD", "the service is not sold for this duration")
    price = price_of(listed, plan_discount(vehicle.plan if vehicle else None))
    refusal = first_refusal(
        Candidate(
            order_operational=vehicle.is_operational if vehicle else None,
            owner=vehicle is not None,
            on_platform=offer.on_platform,
            firmware=await repository.firmware(conn, order.vin)
            or (vehicle.firmware_version if vehicle else None),
            min_firmware=offer.min_firmware,
            hidden=offer.code in await repository.hidden(conn, order.customer_id),
            conflicting=await _conflicting(conn, order, offer.code, now),
            price=price,
            cap=Money(deps.settings.services.cap_one_time_minor, price.currency),
        )
    )
    if refusal is not None:
        raise refusal
    return _Case(offer, price)


async def _conflicting(conn: Connection, order: Order, code: str, now: datetime) -> bool:
    wanted: Occupied = occupied(
        starts_at=order.starts_at,
        activated_at=None,
        expires_at=None,
        duration_days=DURATION_DAYS[order.tier],
        now=now,
    )
    times = (await repository.taken(conn, order.vin, now)).get(code, [])
    return any(overlaps(wanted, time) for time in times)


async def _open(
    conn: Connection, deps: ApiDeps, order: Order, decision: GateDecision
) -> tuple[Payment | None, Purchase]:
    """The purchase's row: blocked by the gate, or with its payment begun.

    The checks are made again under the car's lock: the gate took its time.
    """
    await repository.lock_vehicle(conn, order.vin)
    earlier = await _earlier(conn, order)
    if earlier is not None:
        return None, earlier
    case = await _examine(conn, deps, order)
    now, activation_id = deps.clock.now(), new_id()
    await repository.insert_purchase(
        conn,
        NewPurchase(
            activation_id=activation_id,
            customer_id=order.customer_id,
            vin=order.vin,
            service_code=case.offer.code,
            tier=order.tier,
            duration_days=DURATION_DAYS[order.tier],
            price=case.price,
            starts_at=order.starts_at,
            gate=decision.snapshot(),
            idempotency_key=order.idempotency_key,
            request_hash=order.digest,
            at=now,
        ),
    )
    payment = None
    if decision.allowed:
        payment = await _begin_payment(conn, deps, order, case, activation_id)
    else:
        refusal = {"code": "MAINTENANCE_REQUIRED", "details": decision.details}
        await repository.move(
            conn, activation_id, PurchaseEvent.DENIED, at=now, actor="gate", refusal=refusal
        )
    purchase = await repository.purchase(conn, activation_id)
    assert purchase is not None
    return payment, purchase


async def _begin_payment(
    conn: Connection, deps: ApiDeps, order: Order, case: _Case, activation_id: UUID
) -> Payment:
    now = deps.clock.now()
    days = DURATION_DAYS[order.tier]
    await repository.move(conn, activation_id, PurchaseEvent.ALLOWED, at=now, actor="gate")
    payment = await billing.begin(
        conn,
        deps,
        type="SERVICE",
        amount=case.price,
        customer_id=order.customer_id,
        target=activation_id,
        payment_token=order.payment_token,
        idempotency_key=f"purchase:{activation_id}",
        description=f"{case.offer.name}, {'permanent' if days is None else f'{days} d'}",
        document={"vin": order.vin, "service": case.offer.code, "duration_days": days},
    )
    await repository.move(
        conn,
        activation_id,
        PurchaseEvent.PAY,
        at=now,
        actor=ACTOR,
        payment_id=payment.payment_id,
    )
    return payment


async def _earlier(conn: Connection, order: Order) -> Purchase | None:
    """What this key bought before; Conflict where it was used for something else."""
    found = await repository.purchase_by_key(conn, order.customer_id, order.idempotency_key)
    if found is not None and found.request_hash != order.digest:
        raise Conflict("IDEMPOTENCY_CONFLICT", "this key was used for another purchase")
    return found


async def _lost_race(deps: ApiDeps, order: Order, error: UniqueConflict) -> Accepted:
    """The same request was faster (answer as it did), or another one for the same service."""
    async with deps.database.transaction() as conn:
        earlier = await _earlier(conn, order)
    if earlier is None:
        raise Conflict("CONFLICT", "the service is being bought already") from error
    return _answer_of(earlier)


def _answer_of(purchase: Purchase | None) -> Accepted:
    """What a purchase's row says to its buyer, the first time and every time after."""
    assert purchase is not None
    match PurchaseState(purchase.state):
        case PurchaseState.QUEUED if purchase.starts_at is not None:
            return Accepted(purchase.activation_id, ActivationState.SCHEDULED)
        case PurchaseState.QUEUED:
            return Accepted(purchase.activation_id, ActivationState.QUEUED)
        case PurchaseState.PAYMENT:
            return Accepted(purchase.activation_id, ActivationState.PAYMENT_PENDING)
        case _:
            raise _refusal_of(purchase)


def _refusal_of(purchase: Purchase) -> DomainError:
    refusal = purchase.refusal or {}
    details = {"activationId": str(purchase.activation_id), **refusal.get("details", {})}
    if refusal.get("code") == "MAINTENANCE_REQUIRED":
        return Conflict(
            "MAINTENANCE_REQUIRED",
            "maintenance is due before this service can be bought",
            details=details,
        )
    return Declined("PAYMENT_DECLINED", "the payment was declined", details=details)
