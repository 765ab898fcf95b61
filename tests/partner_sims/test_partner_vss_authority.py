"""The workshops' system and the authorities: their contracts."""

import re
from typing import Any

import httpx
import pytest

from tests.partner_sims.harness import Partners, Platform, Start, wait_for
from tests.partner_sims.samples import VIN, fresh_vin, is_signed, registration


def vss_token(partners: Partners, secret: str | None = None) -> httpx.Response:
    data = {
        "grant_type": "client_credentials",
        "client_id": "caas",
        "client_secret": secret or partners.secrets["VSS_CLIENT_SECRET"],
    }
    return partners.http.post("/vss/oauth/token", data=data)


def vss(partners: Partners, path: str, **params: str) -> httpx.Response:
    bearer = vss_token(partners).json()["access_token"]
    headers = {"Authorization": f"Bearer {bearer}", "X-Request-ID": "r-1"}
    return partners.http.get(f"/vss/api/v1{path}", params=params, headers=headers)


def test_a_car_is_up_to_date_unless_told_otherwise(shared: Partners) -> None:
    answer = vss(shared, f"/vehicles/{fresh_vin()}/maintenance-status")
    assert answer.headers["X-Request-ID"] == "r-1"
    body = answer.json()
    assert {"vin", "last_service_date", "last_service_mileage_km", "current_mileage_km"} <= set(
        body
    )
    assert body["warranty_active"] is True
    assert len(body["functional_blocks"]) == 10
    for block in body["functional_blocks"]:
        assert set(block) == {
            "block_id",
            "block_name",
            "maintenance_current",
            "compliance_percentage",
            "next_service_due_km",
            "next_service_due_date",
            "overdue",
            "overdue_km",
            "overdue_days",
        }
        assert block["maintenance_current"] is True
        assert block["compliance_percentage"] == 100


def test_blocks_can_be_set_asked_for_and_reset(shared: Partners) -> None:
    late = {
        "block_id": "ENGINE",
        "maintenance_current": False,
        "compliance_percentage": 50,
        "overdue": True,
        "overdue_km": 1200,
        "overdue_days": 40,
    }
    vin = fresh_vin()
    control = f"/vss/_control/vehicles/{vin}"
    status = f"/vehicles/{vin}/maintenance-status"
    shared.http.put(control, json={"warranty_active": False, "functional_blocks": [late]})
    wanted = {"functional-blocks": "ENGINE,BRAKES", "include-history": "true"}
    body = vss(shared, status, **wanted).json()
    engine, brakes = body["functional_blocks"]
    assert engine == {**engine, **late}
    assert engine["block_name"] == "Engine"
    assert (brakes["block_id"], brakes["maintenance_current"]) == ("BRAKES", True)
    assert body["warranty_active"] is False
    assert body["service_history"][0]["type"] == "scheduled"
    shared.http.delete(control)
    assert vss(shared, status).json()["functional_blocks"][0]["maintenance_current"] is True
    shared.http.put(control, json={"known": False})
    assert vss(shared, status).status_code == 404
    unknown = shared.http.put(control, json={"functional_blocks": [{"block_id": "WINGS"}]})
    assert unknown.status_code == 400


def test_history_and_schedule(shared: Partners) -> None:
    history = vss(shared, f"/vehicles/{fresh_vin()}/service-history").json()
    assert history["services"][0]["mileage_km"] == 15000
    schedule = vss(shared, "/maintenance-schedules/AURORA/2026").json()
    assert schedule["intervals"][0] == {
        "block_id": "ENGINE",
        "interval_km": 15000,
        "interval_months": 12,
    }
    assert vss(shared, "/vehicles/NOPE/maintenance-status").status_code == 400


def test_vss_wants_a_fresh_token(start: Start) -> None:
    partners = start(VSS_TOKEN_LIFE_S="0.2")
    assert vss_token(partners, "wrong").status_code == 401
    wrong_grant = partners.http.post("/vss/oauth/token", data={"grant_type": "password"})
    assert wrong_grant.status_code == 400
    basic = partners.http.post(
        "/vss/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=("caas", partners.secrets["VSS_CLIENT_SECRET"]),
    ).json()
    assert basic["token_type"] == "Bearer"
    headers = {"Authorization": f"Bearer {basic['access_token']}"}
    path = f"/vss/api/v1/vehicles/{VIN}/maintenance-status"
    wait_for(lambda: partners.http.get(path, headers=headers).status_code == 401)
    assert partners.http.get(path).status_code == 401


def register(
    partners: Partners, country: str, body: dict[str, Any], key: str = "k"
) -> httpx.Response:
    headers = {**partners.bearer("AUTHORITY"), "Idempotency-Key": key}
    return partners.http.post(f"/authority/{country}/register-vehicle", json=body, headers=headers)


@pytest.mark.parametrize(
    ("country", "more", "plate", "authority"),
    [
        ("es", {}, r"\d{4}-[A-Z]{3}", "DGT"),
        ("fr", {"owner": {"tax_id": "1234567890123"}}, r"[A-Z]{2}-\d{3}-[A-Z]{2}", "ANTS"),
        (
            "de",
            {"tuv_reference": "T-1", "regional_office": "München"},
            r"[A-Z]{2}-[A-Z]{2}-\d{4}",
            "KBA",
        ),
        ("generic", {}, r".+", "GENERIC"),
    ],
)
def test_each_country_has_its_plate(
    shared: Partners, country: str, more: dict[str, Any], plate: str, authority: str
) -> None:
    answer = register(shared, country, registration(fresh_vin(), **more))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert re.fullmatch(plate, body["license_plate"])
    assert (body["status"], body["authority"]) == ("REGISTERED", authority)
    assert body["environmental_badge"] == "0"
    assert body["registration_date"] < body["expiry_date"]
    assert body["registration_number"].startswith(authority)
    assert body["license_plate"] in shared.http.get(body["certificate_url"]).text
    other = register(
        shared,
        country,
        registration(fresh_vin(), invoice_number="INV-2", **more),
        "other",
    ).json()
    assert other["license_plate"] != body["license_plate"]


def test_a_car_and_purchase_are_registered_once(shared: Partners) -> None:
    body = registration(fresh_vin())
    first = register(shared, "es", body).json()
    assert register(shared, "es", body).json() == first
    assert register(shared, "es", body, "another").json() == first
    again = register(shared, "es", {**body, "invoice_number": "INV-9"}, "another")
    assert (again.status_code, again.json()["error_code"]) == (409, "ALREADY_REGISTERED")


@pytest.mark.parametrize(
    ("country", "body", "code", "field"),
    [
        ("es", registration(fresh_vin(), tax_id="12345678A"), "INVALID_DNI", "owner.tax_id"),
        ("es", registration("VIN"), "INVALID_VIN", "vin"),
        ("fr", registration(fresh_vin()), "INVALID_TAX_NUMBER", "owner.tax_id"),
        ("de", registration(fresh_vin()), "MISSING_TUV_REFERENCE", "tuv_reference"),
    ],
)
def test_bad_papers_are_refused(
    shared: Partners, country: str, body: dict[str, Any], code: str, field: str
) -> None:
    answer = register(shared, country, body)
    assert answer.status_code == 422
    assert (answer.json()["error_code"], answer.json()["field"]) == (code, field)
    assert answer.json()["message"]


def test_a_tax_debt_is_a_definitive_no(shared: Partners) -> None:
    shared.fault("authority", "decline", count=1, match="TAXDEBTOR")
    body = registration(fresh_vin(), customer_id="TAXDEBTOR")
    assert register(shared, "es", registration(fresh_vin())).status_code == 200
    assert register(shared, "es", body).json()["error_code"] == "TAX_DEBT"
    assert register(shared, "es", body).status_code == 200


def test_a_review_ends_with_a_plate(partners: Partners, platform: Platform) -> None:
    partners.fault("authority", "review", count=1)
    answer = register(partners, "es", registration())
    assert (answer.status_code, answer.json()["status"]) == (202, "UNDER_REVIEW")
    assert "license_plate" not in answer.json()
    path = f"/authority/registrations/{answer.json()['registration_id']}"

    def polled() -> dict[str, Any]:
        return partners.http.get(path, headers=partners.bearer("AUTHORITY")).json()

    wait_for(lambda: polled()["status"] == "REGISTERED")
    wait_for(lambda: platform.of("/webhooks/registration"))
    webhook = platform.of("/webhooks/registration")[0]
    assert is_signed(webhook, "X-Signature", partners.secrets["AUTHORITY_WEBHOOK_SECRET"])
    assert webhook.body["license_plate"] == polled()["license_plate"]


def test_only_a_known_dealership_registers(shared: Partners) -> None:
    path = "/authority/es/register-vehicle"
    assert shared.http.post(path, json=registration()).status_code == 401
