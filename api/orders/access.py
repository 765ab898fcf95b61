"""Who may see an order: its customer, its dealership's sales staff, administration."""

from uuid import UUID

from api.identity.principal import Principal
from api.orders import repository
from api.orders.repository import Order
from core.contracts.states import Role
from core.db import Connection
from core.errors import NotFound

_SEE_ALL = frozenset({Role.ADMIN, Role.SUPPORT, Role.FINANCE, Role.OPERATIONS})


async def visible_order(conn: Connection, caller: Principal, order_id: UUID) -> Order:
    """The order, if it is the caller's to see; NotFound otherwise, as for one that is not there."""
    order = await repository.find(conn, order_id)
    if order is None or not _may_see(caller, order):
        raise NotFound("ORDER_NOT_FOUND", "no such order")
    return order


def _may_see(caller: Principal, order: Order) -> bool:
    if caller.role is Role.CUSTOMER:
        return caller.customer_id == order.customer_id
    if caller.role is Role.SALES:
        return caller.dealership_id == order.dealership_id
    return caller.role in _SEE_ALL
