"""The final payment and the deadlines: one outcome, and what it does to the car."""

import asyncio
from typing import Any

from tests.api.orders import steps
from tests.api.orders.steps import SALES, VIN
from tests.api.world import DECLINED_CARD, World

DAY_S = 86400


async def stock(world: World) -> dict[str, Any]:
    answer = await world.client.get("/intranet/inventory", headers=await world.token(SALES))
    assert answer.status_code == 200
    return answer.json()


async def pay_final(world: World, order: dict[str, Any], key: str, card: str | None = None):
    headers = await steps.customer_login(world, order)
    headers["Idempotency-Key"] = key
    token = await (world.card(card) if card else world.card())
    return await world.client.post(
        f"/orders/{order['orderId']}/final-payment", json={"paymentToken": token}, headers=headers
    )


async def test_the_first_decline_ends_the_sale_and_the_car_goes_to_stock(world: World) -> None:
    order = await steps.at_dealership(world)
    answer = await pay_final(world, order, "final-key-1", DECLINED_CARD)
    assert answer.status_code == 200
    assert answer.json()["state"] == "FAILED"
    assert answer.json()["orderStatus"] == "CANCELLED_PAYMENT_FAILURE"
    late = await pay_final(world, order, "final-key-2")
    assert (late.status_code, late.json()["error"]["code"]) == (409, "PAYMENT_NOT_DUE")
    found = await stock(world)
    assert found["inStock"] == 1
    assert found["vehicles"][0]["assignmentStatus"] == "SIN_ASIGNAR"
    assert found["vehicles"][0]["inventoryStatus"] == "DEALERSHIP_STOCK"
    assert (await steps.read(world, order))["vin"] is None


async def test_the_deadline_ends_the_sale_once(world: World) -> None:
    order = await steps.at_dealership(world)
    world.clock.advance(14 * DAY_S + 1)
    await world.scan("orders.deadlines")
    await world.scan("orders.deadlines")
    assert (await steps.read(world, order))["status"] == "CANCELLED_PAYMENT_FAILURE"
    assert (await stock(world))["inStock"] == 1


async def test_a_payment_after_the_deadline_is_refused_before_the_scan(world: World) -> None:
    order = await steps.at_dealership(world)
    world.clock.advance(14 * DAY_S + 1)
    answer = await pay_final(world, order, "final-key-1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "PAYMENT_LATE")
    assert await world.rows("SELECT 1 FROM billing.payment WHERE type = 'FINAL'") == []


async def test_payment_and_deadline_at_once_have_one_outcome(world: World) -> None:
    order = await steps.at_dealership(world)
    world.clock.advance(14 * DAY_S - 1)
    await world.token(SALES)
    await world.fault("payments", "slow", delay_s=0.5)
    paying = asyncio.create_task(steps.pay(world, order, "FINAL"))

    while not await world.rows(
        "SELECT 1 FROM orders.customer_order WHERE payment_open_at IS NOT NULL"
    ):
        await asyncio.sleep(0.01)
    world.clock.advance(2)
    await world.scan("orders.deadlines")
    assert (await paying).json()["state"] == "CONFIRMED"
    await steps.reached(world, order, "REGISTERED")


async def test_an_unpaid_deposit_abandons_the_sale(world: World) -> None:
    order = await steps.sell(world)
    world.clock.advance(29 * DAY_S)
    await world.scan("orders.deadlines")
    assert (await steps.read(world, order))["status"] == "SALE_REGISTERED"
    world.clock.advance(2 * DAY_S)
    await world.scan("orders.deadlines")
    assert (await steps.read(world, order))["status"] == "ABANDONED"


async def test_a_stock_car_is_sold_without_the_factory(world: World) -> None:
    order = await steps.at_dealership(world)
    await pay_final(world, order, "final-key-1", DECLINED_CARD)
    other = {**steps.CUSTOMER, "email": "second@example.com"}
    sold = await steps.sell(world, customer=other, stockVin=VIN)
    assert (await stock(world))["inStock"] == 0
    taken = await world.client.post(
        "/intranet/orders",
        json=steps.order_body(customer={**other, "email": "third@example.com"}, stockVin=VIN),
        headers=await world.token(SALES),
    )
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "NOT_IN_STOCK")
    await steps.pay(world, sold, "RESERVATION")
    found = await steps.read(world, sold)
    assert (found["status"], found["vin"]) == ("AWAITING_FINAL_PAYMENT", VIN)
    await steps.pay(world, sold, "FINAL")
    await steps.reached(world, sold, "REGISTERED")


async def test_an_abandoned_stock_sale_puts_the_car_back(world: World) -> None:
    order = await steps.at_dealership(world)
    await pay_final(world, order, "final-key-1", DECLINED_CARD)
    sold = await steps.sell(
        world, customer={**steps.CUSTOMER, "email": "second@example.com"}, stockVin=VIN
    )
    world.clock.advance(31 * DAY_S)
    await world.scan("orders.deadlines")
    assert (await steps.read(world, sold))["status"] == "ABANDONED"
    assert (await stock(world))["inStock"] == 1


async def test_a_lost_answer_of_the_gateway_charges_once(world: World) -> None:
    order = await steps.at_dealership(world)
    await world.fault("payments", "lost", count=1, match="/transactions")
    answer = await steps.pay(world, order, "FINAL")
    assert answer.json()["state"] == "CONFIRMED"
    ledger = (await world.sims_client.get("/payments/_control/ledger")).json()["movements"]
    assert [m["kind"] for m in ledger].count("capture") == 2  # deposit and balance
