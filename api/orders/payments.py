"""The deposit and the final payment, and what an order does when one's fate is known."""

from datetime import datetime, timedelta
from uuid import UUID

import core.log
from api.billing import lookup
from api.billing import service as billing
from api.billing.jobs import PaymentConcluded, RefundPayment
from api.billing.service import PaymentOutcome
from api.deps import ApiDeps
from api.orders import registration, repository
from api.orders.jobs import SubmitFactoryOrder
from api.orders.lifecycle import ORDER, OrderEvent, OrderState
from api.orders.notices import tell_customer
from api.orders.repository import Order
from api.orders.schemas import PaymentType
from api.orders.settings import SaleSettings
from api.orders.transitions import move_order
from core.contracts.states import PaymentState
from core.db import Connection
from core.errors import Conflict
from core.jobs import defer

log = core.log.get(__name__)

ACTOR = "billing"
_ASKED_IN = {
    PaymentType.RESERVATION: OrderState.SALE_REGISTERED,
    PaymentType.FINAL: OrderState.AWAITING_FINAL_PAYMENT,
}
_CONFIRMS = {
    PaymentType.RESERVATION: OrderEvent.DEPOSIT_CONFIRMED,
    PaymentType.FINAL: OrderEvent.FINAL_CONFIRMED,
}


async def pay(
    deps: ApiDeps,
    order: Order,
    kind: PaymentType,
    *,
    payment_token: str,
    idempotency_key: str,
    method: str,
) -> PaymentOutcome:
    """Charge the deposit or the balance, and move the order on. Call it outside transactions.

    The same key gets its first answer, whatever has become of the order since.
    """
    async with deps.database.transaction() as conn:
        if not await lookup.knows_key(conn, order.customer_id, idempotency_key):
            await _open(conn, order.order_id, kind, deps.clock.now())
    outcome = await billing.charge(
        deps,
        type=kind.value,
        amount=order.deposit if kind is PaymentType.RESERVATION else order.balance,
        customer_id=order.customer_id,
        target=order.order_id,
        payment_token=payment_token,
        idempotency_key=idempotency_key,
        description=f"{'Deposit' if kind is PaymentType.RESERVATION else 'Balance'} {order.number}",
        document={"order_number": order.number, "vin": order.vin, "method": method},
    )
    async with deps.database.transaction() as conn:
        # Billing has deferred the same for the worker, in case this process dies here.
        await conclude(
            conn,
            PaymentConcluded(
                payment_id=outcome.payment_id,
                type=kind.value,
                target=order.order_id,
                state=outcome.state,
                error_code=outcome.error_code,
            ),
            deps.settings.sale,
            deps.clock.now(),
        )
    return outcome


async def conclude(
    conn: Connection, fate: PaymentConcluded, settings: SaleSettings, now: datetime
) -> None:
    """Move the order by its payment's fate; repeating it changes nothing."""
    if fate.state not in (PaymentState.CONFIRMED, PaymentState.FAILED):
        return
    order = await repository.lock(conn, fate.target)
    kind = PaymentType(fate.type)
    if fate.payment_id in (order.deposit_payment_id, order.final_payment_id):
        return
    if fate.state is PaymentState.CONFIRMED:
        await _confirmed(conn, order, kind, fate.payment_id, settings, now)
    elif not await repository.note_decline(conn, order.order_id, fate.payment_id):
        return
    elif order.state is _ASKED_IN[kind]:
        await _declined(conn, order, kind, fate, settings, now)


async def cancel_for_payment(
    conn: Connection, order: Order, event: OrderEvent, now: datetime, actor: str, reason: str
) -> None:
    """The customer defaults: the car goes to the dealership's stock, the deposit is forfeited."""
    await move_order(
        conn,
        order.order_id,
        event,
        at=now,
        actor=actor,
        detail={"reason": reason, "vin": order.vin},
    )
    if order.vin is not None:
        # The order first: a car in stock is in no living order.
        await repository.run(conn, "clear_vin", order_id=order.order_id, at=now)
        await repository.run(conn, "to_stock", vin=order.vin, at=now)
    await tell_customer(conn, order, "final_payment_failed", reason=reason)


async def await_final_payment(
    conn: Connection, order: Order, settings: SaleSettings, now: datetime
) -> None:
    """The car is at the dealership: the balance is due, and the customer is asked for it."""
    due_at = now + timedelta(seconds=settings.final_deadline_s)
    await repository.run(conn, "set_due", order_id=order.order_id, due_at=due_at, at=now)
    await tell_customer(
        conn, order, "vehicle_arrived", amount=str(order.balance), due_at=due_at.isoformat()
    )


async def _open(conn: Connection, order_id: UUID, kind: PaymentType, now: datetime) -> None:
    """Note that a payment starts, so that no deadline strikes meanwhile; Conflict out of turn."""
    order = await repository.lock(conn, order_id)
    if order.state is not _ASKED_IN[kind]:
        raise Conflict(
            "PAYMENT_NOT_DUE",
            f"an order in {order.status} takes no {kind.value} payment",
            details={"status": order.status},
        )
    if order.due_at is not None and now >= order.due_at:
        raise Conflict("PAYMENT_LATE", "the deadline is over")
    await repository.run(conn, "open_payment", order_id=order_id, status=order.status, at=now)


async def _confirmed(
    conn: Connection,
    order: Order,
    kind: PaymentType,
    payment_id: UUID,
    settings: SaleSettings,
    now: datetime,
) -> None:
    if not ORDER.allows(order.state, _CONFIRMS[kind]):
        # A deadline was quicker: late payment is rejected, so the money goes back.
        log.error("late payment", order_id=str(order.order_id), payment_id=str(payment_id))
        await defer(conn, RefundPayment(payment_id=payment_id, reason="LATE_PAYMENT"))
        return
    await move_order(
        conn,
        order.order_id,
        _CONFIRMS[kind],
        at=now,
        actor=ACTOR,
        detail={"payment_id": str(payment_id)},
    )
    paid = {"order_id": order.order_id, "payment_id": payment_id, "at": now}
    if kind is PaymentType.FINAL:
        await repository.run(conn, "final_paid", **paid)
        await registration.start(conn, await repository.get(conn, order.order_id), now)
        return
    await repository.run(conn, "deposit_paid", **paid)
    if order.from_stock:
        await _take_from_stock(conn, order, settings, now)
    else:
        await defer(conn, SubmitFactoryOrder(order_id=order.order_id))


async def _take_from_stock(
    conn: Connection, order: Order, settings: SaleSettings, now: datetime
) -> None:
    await repository.run(conn, "assign_stock", vin=order.vin, customer_id=order.customer_id, at=now)
    await move_order(conn, order.order_id, OrderEvent.STOCK_ASSIGNED, at=now, actor=ACTOR)
    await await_final_payment(conn, order, settings, now)


async def _declined(
    conn: Connection,
    order: Order,
    kind: PaymentType,
    fate: PaymentConcluded,
    settings: SaleSettings,
    now: datetime,
) -> None:
    """A definitive no: the deposit may be tried again, the final payment may not (DOMAIN 10)."""
    detail = {"payment_id": str(fate.payment_id), "error_code": fate.error_code}
    if kind is PaymentType.RESERVATION:
        await move_order(
            conn,
            order.order_id,
            OrderEvent.DEPOSIT_DECLINED,
            at=now,
            actor=ACTOR,
            detail=detail,
        )
        await repository.run(conn, "close_payment", order_id=order.order_id, at=now)
        return
    declines = await conn.value(
        repository.SQL["count_decline"], {"order_id": order.order_id, "at": now}
    )
    if declines >= settings.final_max_declines:
        await cancel_for_payment(
            conn, order, OrderEvent.FINAL_DECLINED, now, ACTOR, fate.error_code or "DECLINED"
        )
