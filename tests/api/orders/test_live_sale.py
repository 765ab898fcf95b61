"""A sale with the factory's own webhooks, and the credentials as the customer gets them."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.api.orders import steps
from tests.api.orders.steps import EMAIL, VIN
from tests.api.world import PENDING_CARD, World, running, until


@pytest.fixture
async def live(database: str, tmp_path: Path) -> AsyncIterator[World]:
    async with running(database, tmp_path, datetime.now(UTC), live=True) as world:
        yield world


async def test_the_factory_builds_and_the_customer_pays_with_the_mailed_login(
    live: World,
) -> None:
    order = await steps.at_dealership_live(live)
    assert order["vin"] == VIN

    text = await until(lambda: _credentials(live), what="the credentials e-mail")
    password = re.search(r"Contraseña temporal: (\S+)", text)
    link = re.search(r"token=(\S+)", text)
    assert password is not None
    assert link is not None
    headers = await live.token(EMAIL, password[1])
    answer = await live.client.post(
        "/auth/activate", json={"token": link[1], "newPassword": "my own password"}
    )
    assert answer.status_code == 200

    headers["Idempotency-Key"] = "final-payment-1"
    paid = await live.client.post(
        f"/orders/{order['orderId']}/final-payment",
        json={"paymentToken": await live.card()},
        headers=headers,
    )
    assert paid.json()["state"] == "CONFIRMED"
    await steps.reached(live, order, "REGISTERED")
    timeline = await live.client.get(f"/orders/{order['orderId']}/timeline", headers=headers)
    built = [i["status"] for i in timeline.json()["items"] if i["kind"] == "factory"]
    assert set(built) == {
        "ORDERED",
        "IN_PRODUCTION",
        "ASSEMBLY_COMPLETE",
        "QUALITY_CHECK",
        "READY_FOR_SHIPMENT",
        "SHIPPED",
        "ARRIVED_AT_DEALERSHIP",
    }
    jobs = await live.rows("SELECT args::text AS args FROM jobs.procrastinate_jobs")
    assert not [job for job in jobs if password[1] in job["args"]]


async def test_the_authority_reports_the_end_of_its_review(live: World) -> None:
    order = await steps.at_dealership_live(live)
    await live.fault("authority", "review", count=1, delay_s=0.01)
    await steps.pay(live, order, "FINAL")
    # The next look of our own would come only after registration_poll_s.
    await steps.reached(live, order, "REGISTERED")
    inbox = await live.rows(
        "SELECT message_id FROM orders.webhook_inbox WHERE source = 'authority'"
    )
    assert len(inbox) == 1


async def test_a_payment_in_doubt_moves_the_order_when_it_is_known(live: World) -> None:
    order = await steps.sell(live)
    answer = await steps.pay(live, order, "RESERVATION", card=PENDING_CARD)
    assert (answer.json()["state"], answer.json()["orderStatus"]) == (
        "PROCESSING",
        "SALE_REGISTERED",
    )
    other = await steps.pay(live, order, "RESERVATION", key="a-second-deposit")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "ALREADY_PAID")

    async def confirmed() -> bool:
        live.clock.advance(10)
        await live.scan("recover-payments")
        # The factory may be beyond ORDERED by the time we look.
        return (await steps.read(live, order))["status"] not in ("SALE_REGISTERED", "CANCELLED")

    await until(confirmed, what="the deposit is confirmed")
    assert (await steps.read(live, order))["orderedAt"] is not None


async def _credentials(world: World) -> str | None:
    answer = await world.sims_client.get("/mail/messages", params={"to": EMAIL})
    for message in answer.json()["messages"]:
        if "token=" in message["text"]:
            return str(message["text"])
    return None
