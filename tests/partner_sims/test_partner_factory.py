"""The factory: its contract, its steps, its webhooks."""

import hashlib
from typing import Any

import httpx
import pytest

from tests.partner_sims.harness import Partners, Platform, Start, wait_for
from tests.partner_sims.samples import VIN, is_signed, order

STEPS = [
    "ORDERED",
    "IN_PRODUCTION",
    "ASSEMBLY_COMPLETE",
    "QUALITY_CHECK",
    "READY_FOR_SHIPMENT",
    "SHIPPED",
    "ARRIVED_AT_DEALERSHIP",
]
HOOK = "/webhooks/factory/status"


def place(partners: Partners, body: dict[str, Any], key: str | None = None) -> httpx.Response:
    headers = partners.bearer("FACTORY")
    if key:
        headers["Idempotency-Key"] = hashlib.sha256(key.encode()).hexdigest()
    return partners.http.post("/factory/api/v1/orders", json=body, headers=headers)


def status(partners: Partners, order_id: str) -> dict[str, Any]:
    path = f"/factory/api/v1/orders/{order_id}/status"
    return partners.http.get(path, headers=partners.bearer("FACTORY")).json()


def add_cars(partners: Partners, *vins: str, platform: str = "AURORA") -> dict[str, Any]:
    body = {"platform": platform, "vins": vins, "firmware": "2.4.1"}
    return partners.http.post("/factory/_control/vin-pool", json=body).json()


def test_an_order_walks_every_step_and_reports_it_signed(
    partners: Partners, platform: Platform
) -> None:
    add_cars(partners, VIN)
    answer = place(partners, order())
    assert answer.status_code == 201
    placed = answer.json()
    assert set(placed) == {
        "order_id",
        "status",
        "estimated_delivery_date",
        "manufacturing_location",
        "created_at",
    }
    assert placed["status"] == "ORDERED"
    assert placed["order_id"].startswith("FAC-")
    assert placed["order_id"].endswith("-000001")

    wait_for(lambda: len(platform.of(HOOK)) == len(STEPS))
    webhooks = platform.of(HOOK)
    assert sorted(STEPS) == sorted(webhook.body["status"] for webhook in webhooks)
    for webhook in webhooks:
        secret = partners.secrets["FACTORY_WEBHOOK_SECRET"]
        assert is_signed(webhook, "X-Factory-Signature", secret)
        assert webhook.headers["X-Webhook-Timestamp"] == webhook.body["timestamp"]
        has_left = webhook.body["status"] in STEPS[-2:]
        assert webhook.body.get("vin") == (VIN if has_left else None)
        assert ("transport_company" in webhook.body) == has_left
        assert {"order_id", "estimated_completion_date", "notes", "location"} <= set(webhook.body)
    assert len({webhook.headers["X-Webhook-Id"] for webhook in webhooks}) == len(STEPS)

    final = status(partners, placed["order_id"])
    assert [step["status"] for step in final["status_history"]] == STEPS
    assert final["current_location"] == "DEALER-ES-001"
    assert (final["vin"], final["firmware_version"]) == (VIN, "2.4.1")


def test_the_same_key_is_the_same_order(shared: Partners) -> None:
    first = place(shared, order(), "k1").json()
    assert place(shared, order(), "k1").json()["order_id"] == first["order_id"]
    assert place(shared, order(), "k2").json()["order_id"] != first["order_id"]


def test_an_order_waits_for_a_car_of_its_platform(partners: Partners) -> None:
    add_cars(partners, VIN, platform="BOREAL")
    first = place(partners, order()).json()["order_id"]
    second = place(partners, order()).json()["order_id"]
    wait_for(lambda: status(partners, first)["status"] == "READY_FOR_SHIPMENT")
    wait_for(lambda: status(partners, second)["status"] == "READY_FOR_SHIPMENT")
    assert add_cars(partners, "VAURA0TEST0000002") | {"free": 0} == {
        "platform": "AURORA",
        "added": 1,
        "free": 0,
    }
    assert add_cars(partners, "VAURA0TEST0000002")["added"] == 0

    def arrived() -> list[str]:
        orders = [status(partners, order_id) for order_id in (first, second)]
        return [found["vin"] for found in orders if found["status"] == STEPS[-1]]

    assert wait_for(arrived) == ["VAURA0TEST0000002"]
    add_cars(partners, "VAURA0TEST0000003")
    wait_for(lambda: set(arrived()) == {"VAURA0TEST0000002", "VAURA0TEST0000003"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (order("TANK"), "vehicle_specification.platform_base"),
        (order("CIERZO", initial_options=["ADVANCED_CLIMATE"]), "initial_options"),
        (order(initial_options=["OFF_ROAD", "OFF_ROAD"]), "initial_options"),
        (order(initial_options=["no code"]), "initial_options"),
        (order(color=""), "color"),
        ({**order(), "delivery_address": {}}, "delivery_address.street"),
        ({**order(), "plan_comercial": None}, "plan_comercial"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_field(
    shared: Partners, body: dict[str, Any], field: str
) -> None:
    key = f"bad-{body}"
    answer = place(shared, body, key)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_SPECIFICATION"
    assert answer.json()["message"]
    assert answer.json()["field"].endswith(field)
    # A refusal does not use the key up: the mended order goes through.
    assert place(shared, order(), key).status_code == 201


def test_the_factory_can_be_told_to_decline_once(shared: Partners) -> None:
    shared.fault("factory", "decline", count=1, code="CAPACITY_EXHAUSTED")
    answer = place(shared, order())
    assert (answer.status_code, answer.json()["error_code"]) == (400, "CAPACITY_EXHAUSTED")
    assert place(shared, order()).status_code == 201


def test_only_a_known_caller_orders(shared: Partners) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}):
        answer = shared.http.post("/factory/api/v1/orders", json=order(), headers=headers)
        assert answer.status_code == 401
    assert status(shared, "FAC-2026-999999")["error_code"] == "ORDER_NOT_FOUND"


def test_an_unconfirmed_webhook_is_sent_again_unchanged(start: Start, platform: Platform) -> None:
    partners = start(STEP_DELAY_S="60")
    platform.status = 404
    place(partners, order())
    # The first is sent after a moment that lets the 201 arrive before it.
    wait_for(lambda: len(platform.of(HOOK)) >= 2)
    platform.status = 200
    wait_for(lambda: platform.accepted(HOOK))
    deliveries = platform.of(HOOK)
    assert len({webhook.raw for webhook in deliveries}) == 1
    assert len({webhook.headers["X-Webhook-Id"] for webhook in deliveries}) == 1
    assert len({webhook.headers["X-Webhook-Timestamp"] for webhook in deliveries}) == 1


def test_it_gives_up_after_five_resends_and_sends_again_when_told(
    start: Start, platform: Platform
) -> None:
    partners = start(STEP_DELAY_S="60", WEBHOOK_RETRY_DELAYS_S="[0, 0, 0, 0, 0]")
    platform.status = 500
    place(partners, order())

    def failed() -> list[dict[str, Any]]:
        return partners.http.get("/webhooks", params={"state": "FAILED"}).json()["webhooks"]

    wait_for(failed)
    assert len(platform.of(HOOK)) == 6
    platform.status = 200
    webhook_id = failed()[0]["webhook_id"]
    assert partners.http.post(f"/webhooks/{webhook_id}/resend").status_code == 200
    wait_for(lambda: platform.accepted(HOOK))
    assert partners.http.post("/webhooks/none/resend").status_code == 404


def test_a_failed_quality_check_goes_back_on_the_line(partners: Partners) -> None:
    add_cars(partners, VIN)
    partners.fault("factory", "quality_fail", count=1)
    order_id = place(partners, order()).json()["order_id"]
    wait_for(lambda: status(partners, order_id)["status"] == STEPS[-1])
    history = [step["status"] for step in status(partners, order_id)["status_history"]]
    assert history == STEPS[:4] + STEPS[1:]


def test_a_delay_changes_only_the_date(partners: Partners, platform: Platform) -> None:
    add_cars(partners, VIN)
    partners.fault("factory", "delayed", count=1)
    placed = place(partners, order()).json()
    wait_for(lambda: status(partners, placed["order_id"])["status"] == STEPS[-1])
    final = status(partners, placed["order_id"])
    assert final["estimated_delivery_date"] > placed["estimated_delivery_date"]
    assert [step["status"] for step in final["status_history"]] == STEPS
    wait_for(lambda: "DELAYED" in [body["status"] for body in platform.accepted(HOOK)])
