"""Linking the app (vinculación): asked for by the customer, confirmed by the driver in the car."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import core.log
from api.customers import service as customers
from api.deps import ApiDeps
from api.orders import ownership, repository
from api.orders.lifecycle import OrderEvent, OrderState
from api.orders.notices import tell_customer
from api.orders.transitions import move_order
from core.contracts.jobs import LinkConfirmed, Notify, ShowOnDisplay
from core.db import Connection, load_queries
from core.errors import Conflict
from core.ids import new_id
from core.jobs import defer

log = core.log.get(__name__)
_SQL = load_queries("api.orders", "linking.sql")
ACTOR = "vehicle"
_LINKABLE = (None, OrderState.DELIVERED.value, OrderState.OPERATIONAL.value)


@dataclass(frozen=True, slots=True)
class Link:
    """A row of orders.app_link."""

    link_id: UUID
    vin: str
    customer_id: UUID
    code: str
    state: str
    expires_at: datetime


async def ask(
    conn: Connection, *, vin: str, customer_id: UUID, valid_s: float, now: datetime
) -> Link:
    """A new pending link and its code on the car's screen; an older pending one ends."""
    vehicle = await ownership.owned_vehicle(conn, vin=vin, customer_id=customer_id)
    if vehicle.order_status not in _LINKABLE:
        raise Conflict("NOT_DELIVERED", "the app is linked after the handover")
    if await conn.value(_SQL["is_linked"], {"vin": vin, "customer_id": customer_id}):
        raise Conflict("ALREADY_LINKED", "the app is linked to this vehicle")
    customer = await customers.get(conn, customer_id)
    await conn.execute(_SQL["end_pending"], {"vin": vin, "at": now})
    link = Link(
        link_id=new_id(),
        vin=vin,
        customer_id=customer_id,
        code=f"{secrets.randbelow(1_000_000):06d}",
        state="PENDING",
        expires_at=now + timedelta(seconds=valid_s),
    )
    await conn.execute(
        _SQL["insert"],
        {
            "link_id": link.link_id,
            "vin": vin,
            "customer_id": customer_id,
            "code": link.code,
            "at": now,
            "expires_at": link.expires_at,
        },
    )
    text = f"Link to the app of {customer.name}? code {link.code}"
    await defer(conn, ShowOnDisplay(vin=vin, text=text))
    return link


async def confirm(deps: ApiDeps, job: LinkConfirmed) -> None:
    """The car says the driver agreed: the link stands, and a delivered order is OPERATIONAL.

    A confirmation that fits no pending link, comes too late, or carries another code links nothing.
    """
    async with deps.database.transaction() as conn:
        link = await conn.one_or_none(Link, _SQL["pending"], {"vin": job.vin})
        wrong_code = link is not None and job.code is not None and job.code != link.code
        if link is None or wrong_code or job.at > link.expires_at:
            log.warning("link confirmation fits no pending link", vin=job.vin)
            return
        now = deps.clock.now()
        await conn.execute(_SQL["end_confirmed"], {"vin": job.vin, "at": now})
        await conn.execute(
            _SQL["confirm"], {"link_id": link.link_id, "event_id": job.event_id, "at": now}
        )
        order_id = await repository.id_by_vin(conn, job.vin)
        order = None if order_id is None else await repository.lock(conn, order_id)
        if order is not None and order.customer_id == link.customer_id:
            if order.state is OrderState.DELIVERED:
                await move_order(conn, order.order_id, OrderEvent.APP_LINKED, at=now, actor=ACTOR)
            await tell_customer(conn, order, "app_linked", key=str(link.link_id))
        else:
            await _tell_linked(conn, link)


async def _tell_linked(conn: Connection, link: Link) -> None:
    """A vehicle that was taken over has no order of its new owner."""
    await defer(
        conn,
        Notify(
            event="app_linked",
            dedupe_key=f"app_linked:{link.link_id}",
            customer_id=link.customer_id,
            vin=link.vin,
        ),
    )
