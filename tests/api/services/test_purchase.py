"""Buying a service over HTTP, with the real gateway and workshops' simulators."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from api.services import repository
from core.contracts.jobs import RequestActivation
from core.contracts.states import Role
from core.ids import new_id
from tests.api.shop import BAD_CARD, PENDING_CARD, VIN, Shop


def code(answer) -> str:
    return answer.json()["error"]["code"]


async def test_a_purchase_is_held_not_charged_and_ordered_once(shop: Shop):
    answer = await shop.buy()
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert body["state"] == "QUEUED"
    payment = await shop.payment(body["activationId"])
    assert payment["state"] == "AUTHORIZED"
    assert shop.ledger(body["activationId"]) == {"authorise": 6000}
    (job,) = await shop.jobs(RequestActivation)
    assert str(job.activation_id) == body["activationId"]
    assert job.payment_id == payment["payment_id"]
    assert (job.vin, job.service_code, job.duration_days) == (VIN, "PERF_BOOST_50", 7)
    assert job.paid


async def test_the_same_key_buys_once_and_another_body_is_refused(shop: Shop):
    token = await shop.card()
    first = await shop.buy(key="one-key-for-it", token=token)
    again = await shop.buy(key="one-key-for-it", token=token)
    assert (again.status_code, again.json()) == (202, first.json())
    other = await shop.buy(key="one-key-for-it", token=token, tier="DAY")
    assert (other.status_code, code(other)) == (409, "IDEMPOTENCY_CONFLICT")
    assert len(await shop.jobs(RequestActivation)) == 1
    assert len(await shop.rows("SELECT payment_id FROM billing.payment")) == 1


async def test_ten_clicks_at_once_are_one_purchase(shop: Shop):
    token = await shop.card()
    answers = await asyncio.gather(
        *(shop.buy(key="the-same-click", token=token) for _ in range(10))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["activationId"] for answer in answers}) == 1
    assert len(await shop.jobs(RequestActivation)) == 1


async def test_two_buyers_of_one_service_cannot_both_pay(shop: Shop):
    token = await shop.card()
    answers = await asyncio.gather(*(shop.buy(token=token) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]
    assert {code(a) for a in answers if a.status_code == 409} == {"CONFLICT"}
    assert len(await shop.jobs(RequestActivation)) == 1


async def test_a_declined_card_is_402_and_can_be_tried_again_at_once(shop: Shop):
    token = await shop.card(BAD_CARD)
    declined = await shop.buy(key="declined-key", token=token)
    assert (declined.status_code, code(declined)) == (402, "PAYMENT_DECLINED")
    details = declined.json()["error"]["details"]
    assert details["reason"] == "CARD_DECLINED"
    repeated = await shop.buy(key="declined-key", token=token)
    assert (repeated.status_code, code(repeated)) == (402, "PAYMENT_DECLINED")
    assert not await shop.jobs(RequestActivation)
    seen = await shop.client.get(f"/activations/{details['activationId']}", headers=shop.customer)
    assert seen.json()["state"] == "PAYMENT_FAILED"
    assert seen.json()["paymentState"] == "FAILED"
    assert (await shop.buy()).status_code == 202


async def test_a_key_is_needed(shop: Shop):
    answer = await shop.client.post(
        "/services/purchase",
        json={"vin": VIN, "serviceId": "OFF_ROAD", "tier": "DAY", "paymentToken": "t"},
        headers=shop.customer,
    )
    assert (answer.status_code, code(answer)) == (422, "IDEMPOTENCY_KEY_MISSING")


async def test_another_customers_car_is_403(shop: Shop):
    stranger = shop.token(Role.CUSTOMER, customer_id=new_id())
    answer = await shop.buy(headers=stranger)
    assert (answer.status_code, code(answer)) == (403, "NOT_OWNER")


async def test_only_customers_buy(shop: Shop):
    answer = await shop.buy(headers=shop.token(Role.SUPPORT))
    assert answer.status_code == 403


async def test_a_car_not_linked_yet_cannot_buy(shop: Shop):
    await shop.rows("UPDATE orders.customer_order SET status = 'DELIVERED'")
    answer = await shop.buy()
    assert (answer.status_code, code(answer)) == (409, "NOT_OPERATIONAL")


async def test_a_platform_without_the_option_is_incompatible(shop: Shop):
    await shop.rows("UPDATE orders.vehicle SET model = 'CIERZO'")
    answer = await shop.buy("ADVANCED_CLIMATE")
    assert (answer.status_code, code(answer)) == (422, "INCOMPATIBLE")


async def test_an_old_firmware_is_told_what_it_needs(shop: Shop):
    await shop.rows("UPDATE orders.vehicle SET model = 'BOREAL', firmware_version = '2.2.0'")
    answer = await shop.buy("HIGHWAY_AUTOPILOT")
    assert (answer.status_code, code(answer)) == (422, "FIRMWARE_TOO_OLD")
    assert answer.json()["error"]["details"]["minFirmware"] == "2.3"


async def test_a_hidden_service_cannot_be_bought(shop: Shop):
    async with shop.deps.database.transaction() as conn:
        await repository.hide(
            conn, shop.customer_id, "OFF_ROAD", reason="DISSATISFACTION", at=shop.clock.now()
        )
    answer = await shop.buy("OFF_ROAD")
    assert (answer.status_code, code(answer)) == (403, "SERVICE_HIDDEN")


async def test_an_expensive_service_is_capped(shop: Shop):
    await shop.rows("UPDATE config.price SET amount_minor = 300001 WHERE tier = 'PERMANENT'")
    answer = await shop.buy("OFF_ROAD", tier="PERMANENT")
    assert (answer.status_code, code(answer)) == (422, "CAP_EXCEEDED")


async def test_overdue_maintenance_blocks_before_any_payment(shop: Shop):
    block = {"block_id": "ENGINE", "maintenance_current": False, "compliance_percentage": 50,
             "overdue": True, "overdue_km": 1200, "overdue_days": 40,
             "next_service_due_date": "2026-01-02"}  # fmt: skip
    shop.partners.http.put(f"/vss/_control/vehicles/{VIN}", json={"functional_blocks": [block]})
    answer = await shop.buy()
    assert (answer.status_code, code(answer)) == (409, "MAINTENANCE_REQUIRED")
    details = answer.json()["error"]["details"]
    assert (details["overdue_km"], details["overdue_days"]) == (1200, 40)
    assert details["due_date"] == "2026-01-02"
    assert [item["block"] for item in details["blocks"]] == ["ENGINE"]
    assert not await shop.rows("SELECT payment_id FROM billing.payment")
    # Another block's option, and one that is not gated, are not touched by it.
    assert (await shop.buy("HIGHWAY_AUTOPILOT")).status_code == 202
    assert (await shop.buy("ADVANCED_CLIMATE")).status_code == 202
    # Sales open again once the work is done.
    shop.partners.http.delete(f"/vss/_control/vehicles/{VIN}")
    assert (await shop.buy()).status_code == 202


@pytest.mark.parametrize("mode", ["down", "error", "malformed", "decline"])
async def test_without_the_workshops_word_nothing_gated_is_sold(shop: Shop, mode):
    shop.partners.fault("vss", mode)
    answer = await shop.buy()
    assert (answer.status_code, code(answer)) == (503, "MAINTENANCE_UNKNOWN")
    assert not await shop.rows("SELECT payment_id FROM billing.payment")
    assert (await shop.buy("PREMIUM_ENTERTAINMENT")).status_code == 202


async def test_a_service_may_be_allowed_without_the_workshops_unless_safety_critical(shop: Shop):
    await shop.rows(
        "UPDATE config.service SET vss_policy = 'ALLOW_ON_ERROR', safety_critical = false"
        " WHERE code = 'OFF_ROAD'"
    )
    shop.partners.fault("vss", "down")
    assert (await shop.buy("OFF_ROAD")).status_code == 202


async def test_a_planned_start_is_scheduled_and_a_recurring_one_not_sold_yet(shop: Shop):
    starts = (shop.clock.now() + timedelta(days=3)).isoformat()
    answer = await shop.buy(schedule={"type": "FUTURE", "startsAt": starts})
    assert (answer.status_code, answer.json()["state"]) == (202, "SCHEDULED")
    (job,) = await shop.jobs(RequestActivation)
    assert job.starts_at is not None
    # The three days before it are free for a day's use, the time after its start is not.
    assert (await shop.buy(tier="DAY")).status_code == 202
    assert code(await shop.buy(tier="WEEK")) == "CONFLICT"
    recurring = await shop.buy("OFF_ROAD", schedule={"type": "RECURRING"})
    assert (recurring.status_code, code(recurring)) == (422, "NOT_AVAILABLE_YET")
    far = (shop.clock.now() + timedelta(days=30)).isoformat()
    late = await shop.buy("OFF_ROAD", schedule={"type": "FUTURE", "startsAt": far})
    assert code(late) == "NOT_AVAILABLE_YET"
    past = (shop.clock.now() - timedelta(days=1)).isoformat()
    gone = await shop.buy("OFF_ROAD", schedule={"type": "FUTURE", "startsAt": past})
    assert code(gone) == "START_IN_THE_PAST"


async def test_a_planned_purchase_asked_again_after_its_start_is_answered_alike(shop: Shop):
    starts = (shop.clock.now() + timedelta(seconds=60)).isoformat()
    order: dict[str, Any] = {
        "schedule": {"type": "FUTURE", "startsAt": starts},
        "token": await shop.card(),
        "key": "the-answer-was-lost",
    }
    first = await shop.buy(**order)
    shop.clock.advance(120)
    again = await shop.buy(**order)
    assert (again.status_code, again.json()) == (202, first.json())


async def test_the_plans_discount_is_taken_off(shop: Shop):
    await shop.rows(
        """UPDATE orders.customer_order SET plan = '{"discounts": {"servicesPercent": "10.00"}}'"""
    )
    bought = (await shop.buy()).json()
    assert (await shop.payment(bought["activationId"]))["amount_minor"] == 5400


async def test_a_pending_hold_is_accepted_and_not_ordered_yet(shop: Shop):
    answer = await shop.buy(pan=PENDING_CARD)
    assert (answer.status_code, answer.json()["state"]) == (202, "PAYMENT_PENDING")
    assert not await shop.jobs(RequestActivation)


async def test_the_catalogue_shows_prices_and_what_stands_in_the_way(shop: Shop):
    block = {"block_id": "BRAKES", "maintenance_current": False, "overdue_km": 10}
    shop.partners.http.put(f"/vss/_control/vehicles/{VIN}", json={"functional_blocks": [block]})
    await shop.rows(
        """UPDATE orders.customer_order SET plan = '{"permanentOptions": ["ADVANCED_CLIMATE"]}'"""
    )
    answer = await shop.client.get(f"/services/catalog?vin={VIN}", headers=shop.customer)
    assert answer.status_code == 200, answer.text
    services = {item["code"]: item for item in answer.json()["services"]}
    assert "ADVANCED_CLIMATE" not in services  # in the plan already
    power = services["PERF_BOOST_50"]
    assert power["purchasable"] is True
    assert {
        "tier": "WEEK", "durationDays": 7, "price": {"amount": "60.00", "currency": "EUR"}
    } in power["prices"]  # fmt: skip
    blocked = services["HIGHWAY_AUTOPILOT"]
    assert (blocked["purchasable"], blocked["reason"]) == (False, "MAINTENANCE_REQUIRED")
    assert blocked["prices"] == []
    assert blocked["maintenance"]["overdue_km"] == 10
    assert services["PREMIUM_ENTERTAINMENT"]["maintenance"] == {"state": "NOT_NEEDED"}


async def test_browsing_works_without_the_workshops(shop: Shop):
    shop.partners.fault("vss", "down")
    answer = await shop.client.get(f"/services/catalog?vin={VIN}", headers=shop.customer)
    services = {item["code"]: item for item in answer.json()["services"]}
    assert services["PERF_BOOST_50"]["maintenance"] == {"state": "CHECKED_AT_PURCHASE"}
    assert services["PERF_BOOST_50"]["purchasable"] is True


async def test_one_service_is_read_by_id_or_code(shop: Shop):
    by_code = await shop.client.get("/services/OFF_ROAD", headers=shop.customer)
    by_id = await shop.client.get(f"/services/{by_code.json()['serviceId']}", headers=shop.customer)
    assert by_id.json() == by_code.json()
    missing = await shop.client.get("/services/NOTHING", headers=shop.customer)
    assert (missing.status_code, code(missing)) == (404, "SERVICE_NOT_FOUND")


async def test_an_activation_is_its_buyers_alone(shop: Shop):
    bought = (await shop.buy()).json()
    path = f"/activations/{bought['activationId']}"
    mine = (await shop.client.get(path, headers=shop.customer)).json()
    assert (mine["state"], mine["paymentState"]) == ("QUEUED", "AUTHORIZED")
    assert [step["toState"] for step in mine["history"]] == ["PURCHASABLE", "PAYMENT", "QUEUED"]
    stranger = shop.token(Role.CUSTOMER, customer_id=new_id())
    assert (await shop.client.get(path, headers=stranger)).status_code == 404
    assert (await shop.client.get(path, headers=shop.token(Role.SUPPORT))).status_code == 200
    listed = (await shop.client.get("/activations", headers=shop.customer)).json()
    assert [item["activationId"] for item in listed["activations"]] == [bought["activationId"]]
