"""Deadlines of a sale: the unpaid deposit, the unpaid balance, the slow registration."""

from datetime import timedelta

from api.deps import ApiDeps
from api.orders import payments, registration, repository
from api.orders.lifecycle import OrderEvent, OrderState
from api.orders.transitions import move_order
from api.periodic import Periodic
from core.db import Connection

ACTOR = "deadline"
_WATCHED = [OrderState.SALE_REGISTERED.value, OrderState.AWAITING_FINAL_PAYMENT.value]


def periodics(deps: ApiDeps) -> tuple[Periodic, ...]:
    """The scan for what is overdue."""

    async def scan(conn: Connection) -> None:
        await end_overdue(conn, deps)
        late = timedelta(seconds=deps.settings.sale.registration_late_s)
        await registration.tell_late(conn, deps.clock.now() - late)

    return (Periodic("orders.deadlines", deps.settings.sale.deadline_scan_s, scan),)


async def end_overdue(conn: Connection, deps: ApiDeps) -> None:
    """Unpaid deposit: ABANDONED. Unpaid balance: CANCELLED_PAYMENT_FAILURE, the car to stock.

    A payment under way is waited for: whichever of the two comes first is the only outcome.
    """
    now = deps.clock.now()
    grace = timedelta(seconds=deps.settings.sale.payment_grace_s)
    rows = await conn.dicts(
        repository.SQL["overdue"],
        {"now": now, "open_before": now - grace, "statuses": _WATCHED},
    )
    for row in rows:
        order = await repository.get(conn, row["order_id"])
        if order.state is OrderState.AWAITING_FINAL_PAYMENT:
            await payments.cancel_for_payment(
                conn, order, OrderEvent.FINAL_DEADLINE, now, ACTOR, "DEADLINE"
            )
            continue
        await move_order(conn, order.order_id, OrderEvent.DEPOSIT_DEADLINE, at=now, actor=ACTOR)
        await repository.run(conn, "clear_vin", order_id=order.order_id, at=now)
        if order.vin is not None:
            await repository.run(conn, "to_stock", vin=order.vin, at=now)
