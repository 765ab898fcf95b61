"""The steps of a sale as tests take them."""

from typing import Any

import httpx

from api.identity import service as identity
from tests.api.world import CARD, World, until

VIN = "VSSZZZ0000000001A"
EMAIL = "eva.ruiz@example.com"
SALES = "sales@dealer-es-001.example"
ADDRESS = {"street": "Calle Mayor 1", "city": "Zaragoza", "postalCode": "50001", "country": "ES"}
CUSTOMER: dict[str, Any] = {
    "name": "Eva Ruiz",
    "email": EMAIL,
    "phone": "+34 600 000 001",
    "address": ADDRESS,
    "taxId": "12345678Z",
}
PLAN: dict[str, Any] = {
    "initialOptions": ["ADVANCED_CLIMATE"],
    "permanentOptions": ["PREMIUM_ENTERTAINMENT"],
    "color": "white",
    "interior": "black",
    "discounts": {"vehiclePercent": "5"},
}


def order_body(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "customer": CUSTOMER,
        "platform": "AURORA",
        "plan": PLAN,
        "deliveryAddress": ADDRESS,
    }
    return {**body, **changes}


async def sell(world: World, **changes: Any) -> dict[str, Any]:
    """A saved sale."""
    answer = await world.client.post(
        "/intranet/orders", json=order_body(**changes), headers=await world.token(SALES)
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


async def pay(
    world: World, order: dict[str, Any], kind: str, *, card: str = CARD, key: str | None = None
) -> httpx.Response:
    """The dealership takes a payment."""
    headers = await world.token(SALES)
    headers["Idempotency-Key"] = key or f"{kind}-{order['orderId']}"
    return await world.client.post(
        f"/intranet/orders/{order['orderId']}/payments",
        json={"type": kind, "paymentToken": await world.card(card)},
        headers=headers,
    )


async def read(world: World, order: dict[str, Any]) -> dict[str, Any]:
    """The order as staff see it."""
    answer = await world.client.get(f"/orders/{order['orderId']}", headers=await world.token(SALES))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def reached(world: World, order: dict[str, Any], status: str) -> dict[str, Any]:
    """The order once it is in ``status``."""
    headers = await world.token(SALES)

    async def check() -> dict[str, Any] | None:
        answer = await world.client.get(f"/orders/{order['orderId']}", headers=headers)
        found = answer.json()
        return found if found["status"] == status else None

    return await until(check, what=f"order {status}")


async def ordered(world: World, **changes: Any) -> dict[str, Any]:
    """A sale whose car is ordered at the factory."""
    order = await sell(world, **changes)
    answer = await pay(world, order, "RESERVATION")
    assert answer.json()["state"] == "CONFIRMED", answer.text
    return await reached(world, order, "ORDERED")


async def at_dealership(world: World, *, vin: str = VIN, **changes: Any) -> dict[str, Any]:
    """A sale whose car waits for its final payment."""
    order = await ordered(world, **changes)
    for status, more in (
        ("IN_PRODUCTION", {}),
        ("SHIPPED", {"vin": vin, "firmware_version": "2.4.1"}),
        ("ARRIVED_AT_DEALERSHIP", {}),
    ):
        world.clock.advance(60)
        answer = await world.factory_says(order["factoryOrderId"], status, **more)
        assert answer.status_code == 200, answer.text
    return await reached(world, order, "AWAITING_FINAL_PAYMENT")


async def at_dealership_live(world: World) -> dict[str, Any]:
    """The same, with the simulated factory building the car."""
    await world.sims_client.post(
        "/factory/_control/vin-pool",
        json={"platform": "AURORA", "vins": [VIN], "firmware": "2.4.1"},
    )
    order = await sell(world)
    await pay(world, order, "RESERVATION")
    return await reached(world, order, "AWAITING_FINAL_PAYMENT")


async def registered(world: World, **changes: Any) -> dict[str, Any]:
    """A sale that is paid and registered."""
    order = await at_dealership(world, **changes)
    answer = await pay(world, order, "FINAL")
    assert answer.json()["state"] == "CONFIRMED", answer.text
    return await reached(world, order, "REGISTERED")


async def deliver(world: World, order: dict[str, Any], action: str, **more: Any) -> httpx.Response:
    """Staff report on the delivery."""
    return await world.client.put(
        f"/intranet/orders/{order['orderId']}/delivery",
        json={"action": action, **more},
        headers=await world.token(SALES),
    )


async def handed_over(world: World, **changes: Any) -> dict[str, Any]:
    """A sale whose car the customer has."""
    order = await registered(world, **changes)
    for action, more in (
        ("SCHEDULE_PICKUP", {"scheduledAt": "2026-06-01T10:00:00Z"}),
        ("HANDOVER", {"identityChecked": True}),
    ):
        answer = await deliver(world, order, action, **more)
        assert answer.status_code == 200, answer.text
    return await read(world, order)


async def customer_login(world: World, order: dict[str, Any]) -> dict[str, str]:
    """The customer's Authorization header, by the credentials the e-mail would carry."""
    rows = await world.rows(
        "SELECT user_id FROM customers.user_account WHERE customer_id = %(id)s",
        id=order["customerId"],
    )
    async with world.deps.database.transaction() as conn:
        sent = await identity.issue_credentials(
            conn, world.deps.settings.api, rows[0]["user_id"], world.clock.now()
        )
    return await world.token(sent.username, sent.password)
