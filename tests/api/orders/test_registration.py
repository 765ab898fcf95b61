"""Registration: retries, the hand-over to staff, reviews, countries."""

import pytest

from tests.api.orders import steps
from tests.api.orders.steps import ADDRESS, CUSTOMER, SALES
from tests.api.world import World, until


async def retry(world: World, order: dict[str, object], **body: object):
    return await world.client.post(
        f"/intranet/orders/{order['orderId']}/registration/retry",
        json=body,
        headers=await world.token(SALES),
    )


async def in_state(world: World, order: dict[str, object], state: str) -> None:
    async def check() -> bool:
        return (await steps.read(world, order))["registrationState"] == state

    await until(check, what=f"registration {state}")


async def run_due_jobs(world: World) -> None:
    """What a later moment would start is due now."""
    await world.rows(
        "UPDATE jobs.procrastinate_jobs SET scheduled_at = now()"
        " WHERE task_name = 'api.register_vehicle' AND status = 'todo' RETURNING id"
    )


async def test_a_bad_tax_number_waits_for_staff_and_is_put_right(world: World) -> None:
    order = await steps.at_dealership(world, customer={**CUSTOMER, "taxId": "12345678A"})
    await steps.pay(world, order, "FINAL")
    await in_state(world, order, "ManualIntervention")
    early = await steps.deliver(world, order, "CHOOSE_PICKUP")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "NOT_DELIVERABLE")
    assert (await retry(world, order, taxId="12345678Z")).status_code == 202
    await steps.reached(world, order, "REGISTERED")
    audit = await world.rows(
        "SELECT result, error_code, request::text AS request FROM orders.registration_audit"
        " ORDER BY id"
    )
    assert [(a["result"], a["error_code"]) for a in audit] == [
        ("Refused", "INVALID_DNI"),
        ("Papers", None),
    ]
    assert "12345678" not in audit[0]["request"]
    again = await retry(world, order)
    assert again.json()["error"]["code"] == "NOT_IN_MANUAL_INTERVENTION"


async def test_an_authority_that_is_down_is_tried_five_times(world: World) -> None:
    order = await steps.at_dealership(world)
    await world.fault("authority", "error")
    await steps.pay(world, order, "FINAL")
    for attempt in range(1, 5):

        async def tried(wanted: int = attempt) -> bool:
            rows = await world.rows("SELECT attempts FROM orders.registration")
            return rows == [{"attempts": wanted}]

        await until(tried, what=f"attempt {attempt}")
        assert (await steps.read(world, order))["registrationState"] == "RetryRegistration"
        await run_due_jobs(world)
    await in_state(world, order, "ManualIntervention")
    attempts = await world.rows("SELECT attempts FROM orders.registration")
    assert attempts == [{"attempts": 5}]
    await world.fault("authority", "ok")
    await retry(world, order)
    await steps.reached(world, order, "REGISTERED")


async def test_a_review_is_asked_for_until_it_ends(world: World) -> None:
    order = await steps.at_dealership(world)
    await world.fault("authority", "review", count=1, delay_s=0.01)
    await steps.pay(world, order, "FINAL")

    async def under_review() -> bool:
        rows = await world.rows(
            "SELECT 1 FROM orders.registration WHERE case_reference IS NOT NULL"
        )
        return bool(rows)

    await until(under_review, what="the authority reviews")
    assert (await steps.read(world, order))["registrationState"] == "RegistrationInProgress"

    async def registered() -> bool:
        world.sims.due.run_due()
        await run_due_jobs(world)
        return (await steps.read(world, order))["status"] == "REGISTERED"

    await until(registered, what="the review ends well")


@pytest.mark.parametrize(("country", "authority"), [("FR", "fr"), ("PT", "generic")])
async def test_the_customers_country_chooses_the_authority(
    world: World, country: str, authority: str
) -> None:
    customer = {**CUSTOMER, "address": {**ADDRESS, "country": country}, "taxId": "1234567890123"}
    await steps.registered(world, customer=customer)
    rows = await world.rows("SELECT country, authority FROM orders.registration")
    assert rows == [{"country": country, "authority": authority}]


async def test_germany_wants_its_own_papers(world: World) -> None:
    customer = {**CUSTOMER, "address": {**ADDRESS, "country": "DE"}}
    order = await steps.at_dealership(world, customer=customer)
    await steps.pay(world, order, "FINAL")
    await in_state(world, order, "ManualIntervention")
    await retry(world, order, tuvReference="TUV-1", regionalOffice="Berlin")
    found = await steps.reached(world, order, "REGISTERED")
    assert found["licensePlate"].startswith("BE-")


async def test_an_impossible_registration_refunds_everything(world: World) -> None:
    order = await steps.at_dealership(world)
    await world.fault("authority", "decline", code="TAX_DEBT")
    await steps.pay(world, order, "FINAL")
    await in_state(world, order, "ManualIntervention")
    ended = await retry(world, order, impossible=True)
    assert ended.json()["status"] == "CANCELLED_REGISTRATION"

    async def refunding() -> bool:
        rows = await world.rows("SELECT state FROM billing.payment")
        return [row["state"] for row in rows] == ["REFUNDING", "REFUNDING"]

    await until(refunding, what="both refunds are ordered")


async def test_a_slow_registration_is_told_once(world: World) -> None:
    order = await steps.at_dealership(world)
    await world.fault("authority", "review", count=1, delay_s=600)
    await steps.pay(world, order, "FINAL")
    await in_state(world, order, "RegistrationInProgress")
    world.clock.advance(86401)
    await world.scan("orders.deadlines")
    await world.scan("orders.deadlines")
    sent = await until(lambda: _delay_mails(world), what="the e-mail")
    assert len(sent) == 1


async def _delay_mails(world: World) -> list[dict[str, object]]:
    answer = await world.sims_client.get("/mail/messages", params={"to": steps.EMAIL})
    return [m for m in answer.json()["messages"] if "retrasa" in m["subject"]]
