"""Delivery: home or pickup, reported by the dealership's staff (DOMAIN 10)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from api.orders import repository, rules
from api.orders.lifecycle import DeliveryEvent, DeliveryState, OrderEvent, OrderState
from api.orders.notices import tell_customer
from api.orders.repository import Order
from api.orders.rules import DeliveryAction
from api.orders.schemas import DeliveryIn
from api.orders.settings import SaleSettings
from api.orders.transitions import move_delivery, move_order, note_start
from core.db import Connection, load_queries
from core.errors import Conflict, Invalid

_SQL = load_queries("api.orders", "delivery.sql")
_HANDOVERS = (DeliveryEvent.HANDED_OVER, DeliveryEvent.IDENTITY_OK)
_OUTCOMES = {
    DeliveryEvent.HANDED_OVER: "SUCCESS",
    DeliveryEvent.ABSENT: "CUSTOMER_ABSENT",
    DeliveryEvent.INACCESSIBLE: "ADDRESS_INACCESSIBLE",
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of orders.delivery."""

    order_id: UUID
    vin: str
    mode: str
    state: str
    transport_company: str | None
    driver: str | None
    scheduled_at: datetime | None
    attempts: int
    failure_reason: str | None
    pickup_since: datetime | None


async def find(conn: Connection, order_id: UUID) -> Delivery | None:
    """The order's delivery; None before one was arranged."""
    return await conn.one_or_none(Delivery, _SQL["delivery"], {"order_id": order_id})


async def report(
    conn: Connection,
    order: Order,
    body: DeliveryIn,
    *,
    actor: str,
    settings: SaleSettings,
    now: datetime,
) -> Delivery:
    """Take one report of staff: move the delivery, and with it the order."""
    delivery = await find(conn, order.order_id) or await _arrange(conn, order, body, actor, now)
    state = DeliveryState(delivery.state)
    events = rules.delivery_events(state, body.action)
    _check(order, delivery, body, events, settings)
    await conn.execute(
        _SQL["set_transport"],
        {
            "order_id": order.order_id,
            "transport_company": body.transport_company,
            "driver": body.driver,
            "scheduled_at": body.scheduled_at,
            "mode": _mode(delivery, events),
            "at": now,
        },
    )
    for event in events:
        await move_delivery(
            conn, order.order_id, event, at=now, actor=actor, detail={"notes": body.notes}
        )
        await _follow(conn, order, event, body, actor, now)
    moved = await find(conn, order.order_id)
    assert moved is not None
    return moved


async def _arrange(
    conn: Connection, order: Order, body: DeliveryIn, actor: str, now: datetime
) -> Delivery:
    """The first choice opens the delivery: only after registration and full payment."""
    if order.state is not OrderState.REGISTERED or not order.payment_complete:
        raise Conflict(
            "NOT_DELIVERABLE",
            "a vehicle is delivered once it is registered and paid in full",
            details={"status": order.status, "paymentComplete": order.payment_complete},
        )
    if body.action not in (
        DeliveryAction.SET_TRANSPORT,
        DeliveryAction.CHOOSE_PICKUP,
        DeliveryAction.SCHEDULE_PICKUP,
    ):
        raise Conflict("NOT_ARRANGED", "choose transport or pickup first")
    await conn.execute(
        _SQL["insert"],
        {
            "order_id": order.order_id,
            "vin": order.vin,
            "mode": "HOME" if body.action is DeliveryAction.SET_TRANSPORT else "PICKUP",
            "state": DeliveryState.SCHEDULED.value,
            "address": Jsonb(order.delivery_address),
        },
    )
    await note_start(conn, "delivery", order.order_id, DeliveryState.SCHEDULED, at=now, actor=actor)
    await move_order(conn, order.order_id, OrderEvent.DELIVERY_ARRANGED, at=now, actor=actor)
    delivery = await find(conn, order.order_id)
    assert delivery is not None
    return delivery


def _check(
    order: Order,
    delivery: Delivery,
    body: DeliveryIn,
    events: tuple[DeliveryEvent, ...],
    settings: SaleSettings,
) -> None:
    if body.action in (DeliveryAction.SET_TRANSPORT, DeliveryAction.REDELIVER):
        if body.transport_company is None and delivery.transport_company is None:
            raise Invalid("TRANSPORT_MISSING", "name the transport company")
        if delivery.attempts >= settings.delivery_max_attempts:
            raise Conflict("PICKUP_ONLY", "the home attempts are used up")
    if body.action is DeliveryAction.SCHEDULE_PICKUP and body.scheduled_at is None:
        raise Invalid("APPOINTMENT_MISSING", "say when the customer comes")
    if any(event in _HANDOVERS for event in events):
        if not body.identity_checked:
            raise Invalid("IDENTITY_NOT_CHECKED", "a handover needs the customer's identity")
        if not order.payment_complete:
            raise Conflict("NOT_PAID", "the vehicle is not paid in full")


def _mode(delivery: Delivery, events: tuple[DeliveryEvent, ...]) -> str:
    if DeliveryEvent.APPOINTMENT in events:
        return "PICKUP"
    return "HOME" if DeliveryEvent.REDELIVERY_AGREED in events else delivery.mode


async def _follow(
    conn: Connection,
    order: Order,
    event: DeliveryEvent,
    body: DeliveryIn,
    actor: str,
    now: datetime,
) -> None:
    """What one event of the delivery brings about."""
    row: dict[str, Any] = {"order_id": order.order_id, "at": now}
    if event in (DeliveryEvent.TRANSPORT_CHOSEN, DeliveryEvent.REDELIVERY_AGREED):
        await tell_customer(
            conn,
            order,
            "in_transit",
            key=now.isoformat(),
            transport_company=body.transport_company,
            scheduled_at=body.scheduled_at.isoformat() if body.scheduled_at else None,
        )
    elif event is DeliveryEvent.ARRIVED:
        await conn.execute(_SQL["new_attempt"], row)
    elif event in (DeliveryEvent.PICKUP_CHOSEN, DeliveryEvent.RETURNED):
        await conn.execute(_SQL["waits_for_pickup"], row)
    if event in _OUTCOMES:
        await conn.execute(
            _SQL["end_attempt"], {**row, "outcome": _OUTCOMES[event], "notes": body.notes}
        )
    if event in (DeliveryEvent.ABSENT, DeliveryEvent.INACCESSIBLE):
        await tell_customer(conn, order, "delivery_failed", key=now.isoformat(), reason=event.value)
    if event in _HANDOVERS:
        await move_order(conn, order.order_id, OrderEvent.HANDED_OVER, at=now, actor=actor)
        await repository.run(conn, "handed_over", **row)
        await repository.run(conn, "vehicle_left", vin=order.vin, at=now)
