"""What customer and staff are told of a sale (DOMAIN 15), as jobs for the notifications noun."""

from typing import Any

from api.orders.repository import Order
from core.contracts.jobs import Notify
from core.contracts.states import Role
from core.db import Connection
from core.jobs import defer


async def tell_customer(
    conn: Connection, order: Order, event: str, *, key: str = "", **data: Any
) -> None:
    """Tell the order's customer, once per order and ``key``."""
    await defer(
        conn,
        Notify(
            event=event,
            dedupe_key=f"{event}:{order.order_id}:{key}".rstrip(":"),
            customer_id=order.customer_id,
            vin=order.vin,
            data={"order_id": str(order.order_id), "order_number": order.number, **data},
        ),
    )


async def tell_staff(
    conn: Connection, order: Order, event: str, *, key: str = "", **data: Any
) -> None:
    """Tell the dealership's sales staff."""
    await defer(
        conn,
        Notify(
            event=event,
            dedupe_key=f"staff:{event}:{order.order_id}:{key}".rstrip(":"),
            staff_role=Role.SALES.value,
            vin=order.vin,
            data={
                "order_id": str(order.order_id),
                "order_number": order.number,
                "dealership_id": str(order.dealership_id),
                **data,
            },
        ),
    )
