"""The factory: its order, its webhooks, and what happens when it says no or nothing."""

import asyncio
from datetime import timedelta

import pytest

from core.clock import rfc3339
from tests.api.orders import steps
from tests.api.orders.steps import SALES, VIN
from tests.api.world import World, until


async def resubmit(world: World, order: dict[str, object], **body: object):
    return await world.client.post(
        f"/intranet/orders/{order['orderId']}/resubmit",
        json=body,
        headers=await world.token(SALES),
    )


async def test_a_lost_answer_orders_one_car(world: World) -> None:
    await world.fault("factory", "lost", count=1)
    order = await steps.ordered(world)
    assert order["factoryOrderId"].endswith("-000001")
    second = await steps.ordered(world, customer={**steps.CUSTOMER, "email": "b@example.com"})
    assert second["factoryOrderId"].endswith("-000002")


@pytest.mark.parametrize("mode", ["error", "decline"])
async def test_what_the_factory_does_not_take_waits_for_staff(world: World, mode: str) -> None:
    await world.fault("factory", mode)
    order = await steps.sell(world)
    await steps.pay(world, order, "RESERVATION")
    waiting = await steps.reached(world, order, "PENDING_FACTORY_SUBMISSION")
    assert waiting["factoryError"]
    await world.fault("factory", "ok")
    assert (await resubmit(world, order)).status_code == 202
    await steps.reached(world, order, "ORDERED")
    late = await resubmit(world, order)
    assert (late.status_code, late.json()["error"]["code"]) == (409, "NOT_PENDING")


async def test_a_definitive_no_gives_the_deposit_back(world: World) -> None:
    await world.fault("factory", "decline")
    order = await steps.sell(world)
    await steps.pay(world, order, "RESERVATION")
    await steps.reached(world, order, "PENDING_FACTORY_SUBMISSION")
    ended = await resubmit(world, order, giveUp=True, reason="not built any more")
    assert ended.json()["status"] == "CANCELLED_FACTORY"

    async def refunding() -> bool:
        rows = await world.rows("SELECT state FROM billing.payment")
        return [row["state"] for row in rows] == ["REFUNDING"]

    await until(refunding, what="the refund is ordered")


async def test_the_webhook_answers_by_the_contract(world: World) -> None:
    order = await steps.ordered(world)
    number = order["factoryOrderId"]
    forged = await world.factory_says(number, "IN_PRODUCTION", secret="not the secret")
    assert (forged.status_code, forged.json()["received"]) == (400, False)
    unknown = await world.factory_says("FAC-2020-000000", "IN_PRODUCTION")
    assert unknown.status_code == 404
    assert unknown.json()["order_id"] == "FAC-2020-000000"
    assert unknown.json()["received"] is False
    nonsense = await world.factory_says(number, "MELTED")
    assert (nonsense.status_code, nonsense.json()["received"]) == (400, False)
    good = await world.factory_says(number, "IN_PRODUCTION")
    assert good.status_code == 200
    assert set(good.json()) == {"received", "order_id", "processed_at"}
    await steps.reached(world, order, "IN_PRODUCTION")


async def test_a_resent_step_is_kept_and_told_once(world: World) -> None:
    order = await steps.ordered(world)
    answers = await asyncio.gather(
        *(world.factory_says(order["factoryOrderId"], "IN_PRODUCTION") for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {200}
    await steps.reached(world, order, "IN_PRODUCTION")
    inbox = await world.rows("SELECT message_id FROM orders.webhook_inbox")
    assert len(inbox) == 1
    history = await world.rows("SELECT id FROM orders.history WHERE event = 'PRODUCTION_STARTED'")
    assert len(history) == 1


async def test_a_delay_moves_the_date_only(world: World) -> None:
    order = await steps.ordered(world)
    await world.factory_says(
        order["factoryOrderId"], "DELAYED", estimated_completion_date="2027-05-01"
    )

    async def moved() -> bool:
        return (await steps.read(world, order))["estimatedDeliveryDate"] == "2027-05-01"

    await until(moved, what="the date moves")
    now = await steps.read(world, order)
    assert (now["status"], now["factoryStatus"]) == ("ORDERED", "ORDERED")


async def test_an_arrival_makes_up_for_missed_steps(world: World) -> None:
    order = await steps.ordered(world)
    await world.factory_says(order["factoryOrderId"], "ARRIVED_AT_DEALERSHIP", vin=VIN)
    arrived = await steps.reached(world, order, "AWAITING_FINAL_PAYMENT")
    assert arrived["vin"] == VIN
    earlier = rfc3339(world.clock.now() - timedelta(hours=1))
    await world.factory_says(order["factoryOrderId"], "SHIPPED", timestamp=earlier, vin=VIN)

    async def noted() -> bool:
        return len(await world.rows("SELECT status FROM orders.factory_step")) == 2

    await until(noted, what="the late step is in the timeline")
    assert (await steps.read(world, order))["factoryStatus"] == "ARRIVED_AT_DEALERSHIP"


async def test_a_source_that_shouts_is_stopped(world: World) -> None:
    limit = world.deps.settings.partner.webhook_rate
    answers = [await world.factory_says("FAC-2020-000000", "ORDERED") for _ in range(limit + 1)]
    assert [answer.status_code for answer in answers] == [404] * limit + [429]
    assert answers[-1].headers["Retry-After"]
