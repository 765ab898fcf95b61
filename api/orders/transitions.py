"""One transition of a sale's machines: a guarded UPDATE that writes its history row with it."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from psycopg.types.json import Jsonb

from api.orders.lifecycle import (
    DELIVERY,
    ORDER,
    REGISTRATION,
    DeliveryEvent,
    DeliveryState,
    OrderEvent,
    OrderState,
    RegistrationEvent,
    RegistrationState,
)
from core.db import Connection, load_queries
from core.errors import IllegalTransition, NotFound
from core.machine import Machine

_SQL = load_queries("api.orders", "transitions.sql")
S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


async def move_order(
    conn: Connection,
    order_id: UUID,
    event: OrderEvent,
    *,
    at: datetime,
    actor: str,
    detail: Mapping[str, Any] | None = None,
) -> OrderState:
    """The order's next state; IllegalTransition where its present one does not take ``event``."""
    return await _move(conn, ORDER, order_id, event, at, actor, detail)


async def move_registration(
    conn: Connection,
    order_id: UUID,
    event: RegistrationEvent,
    *,
    at: datetime,
    actor: str,
    detail: Mapping[str, Any] | None = None,
) -> RegistrationState:
    """The registration's next state."""
    return await _move(conn, REGISTRATION, order_id, event, at, actor, detail)


async def move_delivery(
    conn: Connection,
    order_id: UUID,
    event: DeliveryEvent,
    *,
    at: datetime,
    actor: str,
    detail: Mapping[str, Any] | None = None,
) -> DeliveryState:
    """The delivery's next state."""
    return await _move(conn, DELIVERY, order_id, event, at, actor, detail)


async def note_start(
    conn: Connection, machine: str, order_id: UUID, state: StrEnum, *, at: datetime, actor: str
) -> None:
    """The history's first row of a machine."""
    await conn.execute(
        _SQL["note_start"],
        {"order_id": order_id, "machine": machine, "at": at, "state": state.value, "actor": actor},
    )


async def _move(
    conn: Connection,
    machine: Machine[S, E],
    order_id: UUID,
    event: E,
    at: datetime,
    actor: str,
    detail: Mapping[str, Any] | None,
) -> S:
    sources = machine.sources(event)
    target = machine.next(sources[0], event)  # every event of these tables has one target
    moved = await conn.execute(
        _SQL[f"move_{machine.name}"],
        {
            "order_id": order_id,
            "sources": [state.value for state in sources],
            "target": target.value,
            "event": event.value,
            "at": at,
            "actor": actor,
            "detail": Jsonb(dict(detail or {})),
        },
    )
    if moved == 0:
        state = await conn.value(_SQL[f"state_of_{machine.name}"], {"order_id": order_id})
        if state is None:
            raise NotFound("ORDER_NOT_FOUND", "no such order")
        raise IllegalTransition(machine.name, str(state), event.value)
    return target
