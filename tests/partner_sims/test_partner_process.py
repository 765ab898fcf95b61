"""The process: faults, restarts after kill -9, a clean stop."""

import json
import smtplib
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.partner_sims.harness import ROOT, Partners, Platform, Start, free_ports, wait_for
from tests.partner_sims.samples import VIN, kinds, order, payment, registration, token

CALL = "/payments/settlements"


def call(partners: Partners) -> httpx.Response:
    return partners.http.get(CALL, headers=partners.bearer("PAYMENT"))


@pytest.mark.parametrize(("mode", "status"), [("down", 503), ("error", 500), ("lost", 504)])
def test_a_fault_lasts_for_its_count(shared: Partners, mode: str, status: int) -> None:
    shared.fault("payments", mode, count=2)
    assert [call(shared).status_code for _ in range(3)] == [status, status, 200]


def test_a_malformed_answer_is_a_200_that_cannot_be_read(shared: Partners) -> None:
    shared.fault("payments", "malformed")
    answer = call(shared)
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    shared.fault("payments", "ok")
    assert "settlements" in call(shared).json()


def test_a_slow_partner_is_slow_and_others_are_not(shared: Partners) -> None:
    shared.fault("payments", "slow", delay_s=60, count=1)
    with pytest.raises(httpx.ReadTimeout):
        shared.http.get(CALL, headers=shared.bearer("PAYMENT"), timeout=0.3)
    assert shared.http.get("/faults").json()["payments"]["mode"] == "ok"
    assert call(shared).status_code == 200


def test_a_fault_hits_only_what_it_matches(shared: Partners) -> None:
    shared.fault("payments", "error", match="ref-hit")
    card = shared.http.post(
        "/payments/_form/tokenize",
        json={"pan": "4242424242424242", "exp": "12/49", "cvv": "123"},
    ).json()["payment_token"]
    headers = shared.bearer("PAYMENT")
    for key, status in (("hit", 500), ("miss", 200)):
        body = payment(card, key)
        answer = shared.http.post("/payments/transactions", json=body, headers=headers)
        assert answer.status_code == status
    assert kinds(shared, "ref-hit") == []


def test_a_lost_answer_is_found_again_by_its_key(shared: Partners) -> None:
    body = payment(token(shared), "lost")
    headers = shared.bearer("PAYMENT")
    shared.fault("payments", "lost", count=1)
    post = shared.http.post
    assert post("/payments/transactions", json=body, headers=headers).status_code == 504
    assert kinds(shared, "ref-lost") == ["authorise", "capture"]
    assert post("/payments/transactions", json=body, headers=headers).status_code == 200
    assert kinds(shared, "ref-lost") == ["authorise", "capture"]


def test_a_declined_payment_by_knob(shared: Partners) -> None:
    card = token(shared)
    shared.fault("payments", "decline", count=1, code="INSUFFICIENT_FUNDS")
    answer = shared.http.post(
        "/payments/transactions", json=payment(card, "k"), headers=shared.bearer("PAYMENT")
    )
    assert (answer.status_code, answer.json()["error_code"]) == (402, "INSUFFICIENT_FUNDS")


def test_unknown_knobs_are_refused(shared: Partners) -> None:
    put = shared.http.put
    assert put("/faults/bakery", json={"mode": "down"}).status_code == 404
    assert put("/faults/vss", json={"mode": "review"}).status_code == 400
    assert put("/faults/vss", json={"mode": "down", "counts": 1}).status_code == 400
    shared.fault("vss", "down")
    assert shared.http.delete("/faults").json()["vss"]["mode"] == "ok"


def test_nothing_is_lost_or_doubled_by_kill_9(start: Start, platform: Platform) -> None:
    partners = start(STEP_DELAY_S="0.3", SETTLE_DELAY_S="0.5")
    headers = {**partners.bearer("FACTORY"), "Idempotency-Key": "o"}
    place = "/factory/api/v1/orders"
    pool = {"platform": "AURORA", "vins": [VIN]}
    partners.http.post("/factory/_control/vin-pool", json=pool)
    order_id = partners.http.post(place, json=order(), headers=headers).json()["order_id"]
    charge = payment(token(partners), "c")
    pay = partners.bearer("PAYMENT")
    transaction = partners.http.post("/payments/transactions", json=charge, headers=pay).json()
    registered = partners.http.post(
        "/authority/es/register-vehicle", json=registration(), headers=partners.bearer("AUTHORITY")
    ).json()
    with smtplib.SMTP("127.0.0.1", partners.smtp_port, timeout=10) as smtp:
        smtp.sendmail("a@example.test", ["b@example.test"], b"Subject: kept\r\n\r\ntext")
    partners.fault("vss", "down")
    partners.kill()
    partners.start()

    again = partners.http.post(place, json=order(), headers=headers).json()
    assert again["order_id"] == order_id
    repeated = partners.http.post("/payments/transactions", json=charge, headers=pay).json()
    assert repeated == transaction
    assert kinds(partners, "ref-c") == ["authorise", "capture"]
    same = partners.http.post(
        "/authority/es/register-vehicle", json=registration(), headers=partners.bearer("AUTHORITY")
    ).json()
    assert same == registered
    assert partners.http.get("/mail/messages").json()["messages"][0]["subject"] == "kept"
    assert partners.http.get("/faults").json()["vss"]["mode"] == "down"
    # What was to come still comes.
    path = f"{place}/{order_id}/status"

    def status() -> str:
        return partners.http.get(path, headers=partners.bearer("FACTORY")).json()["status"]

    wait_for(lambda: status() == "ARRIVED_AT_DEALERSHIP")
    wait_for(lambda: platform.accepted("/webhooks/settlement"))
    wait_for(lambda: len(platform.accepted("/webhooks/factory/status")) >= 7)


def test_an_unconfirmed_webhook_survives_kill_9(start: Start, platform: Platform) -> None:
    partners = start(WEBHOOK_RETRY_DELAYS_S="[2, 2, 2, 2, 2]")
    platform.status = 503
    partners.http.post(
        "/payments/transactions",
        json=payment(token(partners), "w"),
        headers=partners.bearer("PAYMENT"),
    )
    wait_for(lambda: platform.of("/webhooks/settlement"))
    partners.kill()
    platform.status = 200
    partners.start()
    wait_for(lambda: platform.accepted("/webhooks/settlement"))
    deliveries = platform.of("/webhooks/settlement")
    assert len({webhook.headers["X-Webhook-Id"] for webhook in deliveries}) == 1
    assert len({webhook.raw for webhook in deliveries}) == 1


def test_operations_pages(partners: Partners) -> None:
    call(partners)
    partners.http.get(CALL)
    metrics = partners.http.get("/metrics").text
    assert 'caas_partner_requests_total{partner="payments",status="200"} 1.0' in metrics
    assert 'caas_partner_requests_total{partner="payments",status="401"} 1.0' in metrics
    assert "/mail/" in partners.http.get("/").text
    assert "/factory/api/v1/orders" in partners.http.get("/openapi.json").json()["paths"]


def test_it_stops_cleanly_while_a_call_hangs(partners: Partners) -> None:
    partners.fault("payments", "slow", delay_s=60)
    with pytest.raises(httpx.ReadTimeout):
        partners.http.get(CALL, headers=partners.bearer("PAYMENT"), timeout=0.3)
    assert partners.stop() == 0
    assert "Traceback" not in partners.log()


def test_a_bad_setting_stops_it_with_a_clear_line(shared: Partners, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "partner_sims"],
        cwd=ROOT,
        env={"CAAS_PARTNERS_PORT": "none"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert "CAAS_PARTNERS_PORT" in result.stderr
    assert "Traceback" not in result.stderr
    taken = subprocess.run(
        [sys.executable, "-m", "partner_sims"],
        cwd=ROOT,
        env={
            "CAAS_PARTNERS_PORT": str(shared.port),
            "CAAS_PARTNERS_SMTP_PORT": str(free_ports(1)[0]),
            "CAAS_PARTNERS_DATA_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert taken.returncode == 1
    assert "PORT_TAKEN" in taken.stderr
    assert "Traceback" not in taken.stderr


def test_what_was_to_come_can_be_forgotten(start: Start, platform: Platform) -> None:
    partners = start(SETTLE_DELAY_S="0", REFUND_DELAY_S="600", WEBHOOK_RETRY_DELAYS_S="[600]")
    platform.status = 500
    body = payment(token(partners), "tried")
    headers = partners.bearer("PAYMENT")
    tried = partners.http.post("/payments/transactions", json=body, headers=headers).json()
    wait_for(lambda: platform.of("/webhooks/settlement"))
    paid_by = tried["transaction_id"]
    refund = {"originalTransactionId": paid_by, "amount_minor": 100}
    answer = partners.http.post(
        f"/payments/transactions/{paid_by}/refund", json=refund, headers=headers
    )
    assert answer.is_success, answer.text
    assert partners.http.delete("/pending").json() == {"timers": 1, "webhooks": 1}
    assert partners.http.delete("/pending").json() == {"timers": 0, "webhooks": 0}

    platform.status = 200
    body = payment(token(partners), "later")
    later = partners.http.post("/payments/transactions", json=body, headers=headers).json()
    wait_for(lambda: platform.accepted("/webhooks/settlement"))
    paid = [notice["paymentId"] for notice in platform.accepted("/webhooks/settlement")]
    assert paid == [later["transaction_id"]]
    (failed,) = partners.http.get("/webhooks?state=FAILED").json()["webhooks"]
    assert failed["last_answer"] == "forgotten"
