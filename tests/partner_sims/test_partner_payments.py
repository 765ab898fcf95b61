"""The gateway: money moves once, and every movement is in the ledger."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.partner_sims.harness import Partners, Platform, Start, wait_for
from tests.partner_sims.samples import OK_CARD, is_signed, kinds, payment, token


def post(partners: Partners, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
    return partners.http.post(
        f"/payments/transactions{path}", json=body, headers=partners.bearer("PAYMENT")
    )


def read(partners: Partners, transaction_id: str) -> dict[str, Any]:
    path = f"/payments/transactions/{transaction_id}"
    return partners.http.get(path, headers=partners.bearer("PAYMENT")).json()


def hold(partners: Partners, key: str) -> str:
    answer = post(partners, "", payment(token(partners), key, capture=False))
    assert answer.status_code == 200, answer.text
    assert answer.json()["confirmed"] is True
    assert answer.json()["status"] == "AUTHORIZED"
    return answer.json()["transaction_id"]


def test_a_charge_is_confirmed_and_settled(partners: Partners, platform: Platform) -> None:
    answer = post(partners, "", payment(token(partners), "k"))
    assert answer.status_code == 200
    transaction_id = answer.json()["transaction_id"]
    assert answer.json()["confirmed"] is True
    assert kinds(partners, "ref-k") == ["authorise", "capture"]

    wait_for(lambda: platform.of("/webhooks/settlement"))
    webhook = platform.of("/webhooks/settlement")[0]
    assert is_signed(webhook, "X-Signature", partners.secrets["PAYMENT_WEBHOOK_SECRET"])
    body = webhook.body
    assert (body["paymentId"], body["status"]) == (transaction_id, "SETTLED")
    assert (body["settlementAmount"], body["fees"]) == (6000, 25 + 84)
    assert body["bankTransactionId"]
    assert body["settlementDate"]
    assert body["failureReason"] is None
    listed = partners.http.get("/payments/settlements", headers=partners.bearer("PAYMENT")).json()
    assert listed["settlements"] == [body]
    assert read(partners, transaction_id)["settlement"] == body


def test_one_key_never_charges_twice(shared: Partners) -> None:
    body = payment(token(shared), "once")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(shared, "", body), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["transaction_id"] for answer in answers}) == 1
    assert kinds(shared, "ref-once") == ["authorise", "capture"]
    other = post(shared, "", {**body, "amount_minor": 1})
    assert (other.status_code, other.json()["error_code"]) == (409, "IDEMPOTENCY_CONFLICT")


def test_a_hold_is_captured_once(shared: Partners) -> None:
    transaction_id = hold(shared, "h")
    assert kinds(shared, "ref-h") == ["authorise"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(shared, f"/{transaction_id}/capture"), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert kinds(shared, "ref-h") == ["authorise", "capture"]
    assert post(shared, f"/{transaction_id}/void").status_code == 409
    assert read(shared, transaction_id)["captured_minor"] == 6000


def test_a_voided_hold_cannot_be_captured(shared: Partners) -> None:
    transaction_id = hold(shared, "v")
    for _ in range(2):
        assert post(shared, f"/{transaction_id}/void").json()["status"] == "VOIDED"
    answer = post(shared, f"/{transaction_id}/capture")
    assert (answer.status_code, answer.json()["error_code"]) == (409, "INVALID_STATE")
    assert kinds(shared, "ref-v") == ["authorise", "void"]


@pytest.mark.parametrize(
    ("pan", "code"),
    [
        ("4000000000000002", "CARD_DECLINED"),
        ("4000000000009995", "INSUFFICIENT_FUNDS"),
        ("4000000000000069", "EXPIRED_CARD"),
        ("4000000000000127", "INCORRECT_CVC"),
    ],
)
def test_a_bad_card_is_declined_and_stays_declined(shared: Partners, pan: str, code: str) -> None:
    body = payment(token(shared, pan), code, capture=False)
    answers = [post(shared, "", body) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 402
        assert answer.json()["error_code"] == code
        assert answer.json()["reason"]
    assert kinds(shared, f"ref-{code}") == []
    assert read(shared, answers[0].json()["transaction_id"])["status"] == "DECLINED"


def test_an_unknown_token_is_an_invalid_card(shared: Partners) -> None:
    answer = post(shared, "", payment("tok_none", "x"))
    assert (answer.status_code, answer.json()["error_code"]) == (402, "INVALID_CARD")


def test_a_pending_charge_is_confirmed_later(shared: Partners) -> None:
    answer = post(shared, "", payment(token(shared, "4000000000003220"), "p"))
    assert (answer.status_code, answer.json()["pending"]) == (202, True)
    transaction_id = answer.json()["transaction_id"]
    wait_for(lambda: read(shared, transaction_id)["status"] == "CAPTURED")
    assert kinds(shared, "ref-p") == ["authorise", "capture"]


def test_a_pending_hold_that_is_voided_never_moves_money(start: Start) -> None:
    partners = start(PENDING_DELAY_S="0.5")
    card = token(partners)
    partners.fault("payments", "pending", count=1)
    answer = post(partners, "", payment(card, "pv", capture=False))
    transaction_id = answer.json()["transaction_id"]
    assert post(partners, f"/{transaction_id}/capture").status_code == 409
    assert post(partners, f"/{transaction_id}/void").status_code == 200
    # A later pending charge shows that the first one's time is over.
    partners.fault("payments", "pending", count=1)
    later = post(partners, "", payment(card, "later")).json()["transaction_id"]
    wait_for(lambda: read(partners, later)["status"] == "CAPTURED")
    assert read(partners, transaction_id)["status"] == "VOIDED"
    assert kinds(partners, "ref-pv") == ["void"]


def refund(
    partners: Partners, transaction_id: str, amount: int, key: str | None = None
) -> httpx.Response:
    headers = partners.bearer("PAYMENT") | ({"Idempotency-Key": key} if key else {})
    return partners.http.post(
        f"/payments/transactions/{transaction_id}/refund",
        json={"originalTransactionId": transaction_id, "amount_minor": amount},
        headers=headers,
    )


def test_a_refund_completes_by_webhook_and_never_exceeds_the_capture(
    partners: Partners, platform: Platform
) -> None:
    transaction_id = hold(partners, "r")
    assert refund(partners, transaction_id, 6000).status_code == 409
    post(partners, f"/{transaction_id}/capture")
    first = refund(partners, transaction_id, 4000, "rk")
    assert first.status_code == 200
    assert first.json()["status"] == "PENDING"
    assert (
        refund(partners, transaction_id, 4000, "rk").json()["refundId"]
        == (first.json()["refundId"])
    )
    assert refund(partners, transaction_id, 2001).json()["error_code"] == "REFUND_EXCEEDS_CAPTURE"
    assert refund(partners, transaction_id, 2000, "rk").status_code == 409

    wait_for(lambda: platform.of("/webhooks/refund"))
    webhook = platform.of("/webhooks/refund")[0]
    assert is_signed(webhook, "X-Signature", partners.secrets["PAYMENT_WEBHOOK_SECRET"])
    assert set(webhook.body) == {"refundId", "status", "timestamp"}
    assert (webhook.body["refundId"], webhook.body["status"]) == (
        first.json()["refundId"],
        "COMPLETED",
    )
    assert kinds(partners, "ref-r") == ["authorise", "capture", "refund"]
    assert read(partners, transaction_id)["refunded_minor"] == 4000


def test_a_denied_refund_leaves_the_money_refundable(
    partners: Partners, platform: Platform
) -> None:
    transaction_id = post(partners, "", payment(token(partners), "n")).json()["transaction_id"]
    partners.fault("payments", "deny", count=1)
    refund(partners, transaction_id, 6000)
    wait_for(lambda: platform.of("/webhooks/refund"))
    assert platform.of("/webhooks/refund")[0].body["status"] == "DENIED"
    assert kinds(partners, "ref-n") == ["authorise", "capture"]
    assert refund(partners, transaction_id, 6000).status_code == 200


def test_the_bank_can_refuse_to_settle(partners: Partners, platform: Platform) -> None:
    post(partners, "", payment(token(partners, "4000000000000341"), "s"))
    wait_for(lambda: platform.of("/webhooks/settlement"))
    body = platform.of("/webhooks/settlement")[0].body
    assert (body["status"], body["settlementAmount"]) == ("FAILED", 0)
    assert body["failureReason"]


def test_nothing_of_the_card_is_kept(partners: Partners, tmp_path: Path) -> None:
    answer = partners.http.post(
        "/payments/_form/tokenize", json={"pan": OK_CARD, "exp": "12/49", "cvv": "987"}
    )
    assert answer.json() | {"payment_token": ""} == {
        "payment_token": "",
        "brand": "visa",
        "last4": "4242",
    }
    for wrong in ({"pan": "4242424242424241"}, {"exp": "01/20"}, {"exp": "x"}, {"cvv": "98765"}):
        body = {"pan": OK_CARD, "exp": "12/49", "cvv": "987", **wrong}
        refused = partners.http.post("/payments/_form/tokenize", json=body)
        assert refused.status_code == 422
        assert body["pan"] not in refused.text
    # Not even a request that cannot be read is repeated to its sender.
    unreadable = partners.http.post("/payments/_form/tokenize", json={"pan": [OK_CARD]})
    assert unreadable.status_code == 400
    assert OK_CARD not in unreadable.text
    partners.stop()
    for file in tmp_path.iterdir():
        assert OK_CARD.encode() not in file.read_bytes(), file.name


def test_only_a_known_caller_pays(shared: Partners) -> None:
    answer = shared.http.post("/payments/transactions", json=payment("t", "k"))
    assert answer.status_code == 401
    assert post(shared, "", {**payment("t", "k"), "amount_minor": 0}).status_code == 400
    assert post(shared, "/txn_none/capture").status_code == 404
