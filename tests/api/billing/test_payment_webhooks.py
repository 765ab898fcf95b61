"""The gateway's webhooks: signature, age, repetition, order of arrival (DOMAIN 17)."""

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.app import create_app
from api.billing.jobs import PaymentWebhook, RefundPayment
from core.clock import rfc3339
from core.contracts.jobs import CapturePayment
from core.errors import NotFound, Unavailable
from tests.api.shop import Shop


async def send(
    shop: Shop,
    kind: str,
    body: Any,
    *,
    secret: str | None = None,
    message_id: str = "wh-1",
    age_s: float = 0,
) -> httpx.Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    secret = secret or shop.partners.secrets["PAYMENT_WEBHOOK_SECRET"]
    headers = {
        "Content-Type": "application/json",
        "X-Signature": hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest(),
        "X-Webhook-Id": message_id,
        "X-Webhook-Timestamp": rfc3339(shop.clock.now() - timedelta(seconds=age_s)),
    }
    return await shop.client.post(f"/webhooks/{kind}", content=raw, headers=headers)


def settlement(tx: str, **more: Any) -> dict[str, Any]:
    return {
        "paymentId": tx,
        "status": "SETTLED",
        "settlementAmount": 6000,
        "settlementDate": "2026-11-27T08:00:00.000Z",
        "bankTransactionId": "bnk_1",
        "fees": 109,
        **more,
    }


async def inbox(shop: Shop) -> int:
    return len(await shop.rows("SELECT message_id FROM orders.webhook_inbox"))


async def test_a_wrong_signature_is_401_and_nothing_is_kept(shop: Shop):
    answer = await send(shop, "settlement", settlement("txn_1"), secret="wrong")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "BAD_SIGNATURE")
    assert await inbox(shop) == 0


@pytest.mark.parametrize("age_s", [301, -301])
async def test_a_delivery_of_another_time_is_401(shop: Shop, age_s: float):
    answer = await send(shop, "refund", {"refundId": "r"}, age_s=age_s)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "STALE_WEBHOOK")


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", {"paymentId": "x"}, {"status": "SETTLED"}, b"\xff\xfe"]
)
async def test_a_body_that_is_no_notice_is_refused(shop: Shop, body: Any):
    answer = await send(shop, "settlement", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "INVALID_PAYLOAD")
    assert await inbox(shop) == 0


async def test_a_stranger_who_shouts_does_not_silence_the_gateway(shop: Shop):
    limit = shop.deps.settings.partner.webhook_rate
    transport = httpx.ASGITransport(create_app(shop.deps), client=("203.0.113.9", 1))
    async with httpx.AsyncClient(
        transport=transport, base_url=str(shop.client.base_url)
    ) as stranger:
        for _ in range(limit):
            answer = await stranger.post("/webhooks/settlement", content=b"{}")
            assert answer.status_code == 401
        assert (await stranger.post("/webhooks/settlement", content=b"{}")).status_code == 429
    assert (await send(shop, "settlement", settlement("txn_1"))).status_code == 200


async def test_a_message_is_taken_once(shop: Shop):
    for _ in range(3):
        answer = await send(shop, "settlement", settlement("txn_1"))
        assert (answer.status_code, answer.json()) == (200, {"received": True})
    assert await inbox(shop) == 1
    assert len(await shop.jobs(PaymentWebhook)) == 1


async def test_a_notice_that_overtakes_its_fact_waits_in_the_queue(shop: Shop):
    activation_id = (await shop.buy()).json()["activationId"]
    payment = await shop.payment(activation_id)
    notice = PaymentWebhook("settlement", "m", settlement(payment["gateway_tx_id"]))
    with pytest.raises(Unavailable):
        await shop.run_job(notice)
    await shop.run_job(CapturePayment(UUID(activation_id), payment["payment_id"]))
    await shop.run_job(notice)
    await shop.run_job(notice)
    assert (await shop.payment(activation_id))["state"] == "SETTLED"
    with pytest.raises(NotFound):
        await shop.run_job(PaymentWebhook("settlement", "m", settlement("txn_unknown")))


async def test_a_refund_nobody_ordered_is_not_waited_for(shop: Shop):
    ended = {"refundId": "ref_1", "status": "COMPLETED", "timestamp": "2026-11-27T08:00:00Z"}
    notice = PaymentWebhook("refund", "m", ended)
    with pytest.raises(NotFound):
        await shop.run_job(notice)
    activation_id = (await shop.buy()).json()["activationId"]
    payment = await shop.payment(activation_id)
    await shop.run_job(CapturePayment(UUID(activation_id), payment["payment_id"]))
    shop.partners.fault("payments", "down")
    with pytest.raises(Unavailable):
        await shop.run_job(RefundPayment(payment["payment_id"], "WITHDRAWAL"))
    # Now it could be this one, whose number is not known yet.
    with pytest.raises(Unavailable):
        await shop.run_job(notice)


async def test_a_refused_settlement_leaves_the_service_and_is_noted(shop: Shop):
    activation_id = (await shop.buy()).json()["activationId"]
    payment = await shop.payment(activation_id)
    await shop.run_job(CapturePayment(UUID(activation_id), payment["payment_id"]))
    body = settlement(
        payment["gateway_tx_id"],
        status="FAILED",
        settlementAmount=0,
        failureReason="REFUSED_BY_BANK",
        bankTransactionId=None,
    )
    await shop.run_job(PaymentWebhook("settlement", "m", body))
    payment = await shop.payment(activation_id)
    assert (payment["state"], payment["failure_reason"]) == ("SETTLEMENT_FAILED", "REFUSED_BY_BANK")
