"""The factory's answers, readable or not."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from api.orders import factory
from api.orders.repository import Order
from api.partners.http import PartnerClient

PLAN = {
    "initialOptions": [],
    "permanentOptions": [],
    "color": "blue",
    "interior": "black",
    "maintenanceIncluded": True,
    "warrantyYears": 3,
}


def order() -> Order:
    row: dict[str, Any] = dict.fromkeys(Order.__slots__)
    row |= {"order_id": UUID(int=1), "customer_id": UUID(int=2), "platform": "AURORA"}
    row |= {"plan": PLAN, "delivery_address": {}}
    return Order(**row)


@pytest.mark.parametrize("estimated", [5, [1], "soon"])
async def test_an_unreadable_yes_waits_for_staff(estimated: Any) -> None:
    answer = {"order_id": "FAC-1", "status": "QUEUED", "estimated_delivery_date": estimated}
    transport = httpx.MockTransport(lambda _: httpx.Response(201, json=answer))
    client = PartnerClient("factory", "http://factory", timeout_s=1, transport=transport)
    found = await factory.place(client, order(), "DEALER-ES-001")
    assert isinstance(found, factory.NotAccepted)
    assert found.code == "FACTORY_UNREADABLE"
