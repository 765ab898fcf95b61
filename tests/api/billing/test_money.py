"""Holds, captures, voids, refunds and settlements against the real gateway simulator."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from api.billing import service as billing
from api.billing.jobs import CheckPayment, PaymentConcluded
from api.billing.recovery import find_unknown
from core.contracts.jobs import (
    CapturePayment,
    Notify,
    PaymentReleased,
    ReleasePayment,
    RequestActivation,
)
from core.contracts.states import PaymentState, Role
from core.errors import Conflict
from core.ids import new_id
from core.money import Money
from tests.api.shop import BAD_CARD, GOOD_CARD, PENDING_CARD, Shop, eventually


async def bought(shop: Shop) -> tuple[str, UUID]:
    """An activation whose money is held, and its payment."""
    activation_id = (await shop.buy()).json()["activationId"]
    return activation_id, (await shop.payment(activation_id))["payment_id"]


def capture(activation_id: str, payment_id: UUID) -> CapturePayment:
    return CapturePayment(activation_id=UUID(activation_id), payment_id=payment_id)


def release(activation_id: str, payment_id: UUID) -> ReleasePayment:
    return ReleasePayment(activation_id=UUID(activation_id), payment_id=payment_id, reason="X")


async def state(shop: Shop, activation_id: str) -> str:
    return (await shop.payment(activation_id))["state"]


async def outcomes(shop: Shop) -> list[str]:
    return [job.outcome for job in await shop.jobs(PaymentReleased)]


async def test_a_proved_service_is_captured_once_and_invoiced_once(shop: Shop):
    activation_id, payment_id = await bought(shop)
    job = capture(activation_id, payment_id)
    await asyncio.gather(*(shop.run_job(job) for _ in range(4)))
    await shop.run_job(job)
    assert await state(shop, activation_id) == "CAPTURED"
    assert shop.ledger(activation_id) == {"authorise": 6000, "capture": 6000}
    invoices = (await shop.client.get("/invoices", headers=shop.customer)).json()["invoices"]
    (invoice,) = invoices
    assert (invoice["type"], invoice["status"]) == ("SERVICE", "PAID")
    assert invoice["total"] == {"amount": "60.00", "currency": "EUR"}
    assert (invoice["net"]["amount"], invoice["vat"]["amount"]) == ("49.59", "10.41")
    assert invoice["number"].endswith("-000001")
    told = [job for job in await shop.jobs(Notify) if job.event == "payment_confirmed"]
    assert len(told) == 1


async def test_an_undelivered_service_is_voided_and_never_captured(shop: Shop):
    activation_id, payment_id = await bought(shop)
    await shop.run_job(release(activation_id, payment_id))
    assert await state(shop, activation_id) == "VOIDED"
    assert await outcomes(shop) == ["VOIDED"]
    # A capture that comes too late takes nothing, a second release gives nothing twice.
    await shop.run_job(capture(activation_id, payment_id))
    await shop.run_job(release(activation_id, payment_id))
    assert shop.ledger(activation_id) == {"authorise": 6000, "void": 6000}
    assert await outcomes(shop) == ["VOIDED", "VOIDED"]
    assert (await shop.client.get("/invoices", headers=shop.customer)).json()["invoices"] == []


async def test_what_was_captured_is_refunded_with_a_credit_note_and_a_notice(shop: Shop):
    activation_id, payment_id = await bought(shop)
    await shop.run_job(capture(activation_id, payment_id))
    await shop.run_job(release(activation_id, payment_id))
    assert await state(shop, activation_id) == "REFUNDING"
    assert await outcomes(shop) == ["REFUNDED"]
    await shop.run_job(release(activation_id, payment_id))

    async def refunded() -> bool:
        # The simulator's webhook arrives at the API, which defers the work.
        await shop.work()
        return await state(shop, activation_id) == "REFUNDED"

    await eventually(refunded)
    assert shop.ledger(activation_id) == {"authorise": 6000, "capture": 6000, "refund": 6000}
    invoices = (await shop.client.get("/invoices", headers=shop.customer)).json()["invoices"]
    note = next(item for item in invoices if item["type"] == "CREDIT_NOTE")
    original = next(item for item in invoices if item["type"] == "SERVICE")
    assert note["originalInvoiceId"] == original["invoiceId"]
    assert note["total"]["amount"] == "-60.00"
    mails = await eventually(lambda: shop.mails(subject="Refund"))
    assert "EUR 60.00" in mails[0]["subject"]


async def test_a_capture_that_died_before_its_commit_is_refunded_not_voided(shop: Shop):
    activation_id, payment_id = await bought(shop)
    payment = await shop.payment(activation_id)
    # The gateway has captured; we do not know it.
    shop.partners.http.post(
        f"/payments/transactions/{payment['gateway_tx_id']}/capture",
        headers=shop.partners.bearer("PAYMENT"),
    )
    await shop.run_job(release(activation_id, payment_id))
    assert await state(shop, activation_id) == "REFUNDING"
    assert await outcomes(shop) == ["REFUNDED"]


async def test_a_lost_answer_to_a_capture_is_repeated_without_a_second_one(shop: Shop):
    activation_id, payment_id = await bought(shop)
    shop.partners.fault("payments", "lost", match="/capture", count=1)
    await shop.run_job(capture(activation_id, payment_id))
    assert await state(shop, activation_id) == "CAPTURED"
    assert shop.ledger(activation_id)["capture"] == 6000


async def test_a_hold_the_gateway_let_go_is_an_alert_and_no_capture(shop: Shop):
    activation_id, payment_id = await bought(shop)
    payment = await shop.payment(activation_id)
    shop.partners.http.post(
        f"/payments/transactions/{payment['gateway_tx_id']}/void",
        headers=shop.partners.bearer("PAYMENT"),
    )
    await shop.run_job(capture(activation_id, payment_id))
    assert await state(shop, activation_id) == "VOIDED"
    assert [job.staff_role for job in await shop.jobs(Notify)] == ["OPERATIONS"]


async def test_a_proof_that_comes_after_the_release_is_told_to_operations(shop: Shop):
    activation_id, payment_id = await bought(shop)
    await shop.run_job(release(activation_id, payment_id))
    for _ in range(2):
        await shop.run_job(capture(activation_id, payment_id))
    assert await state(shop, activation_id) == "VOIDED"
    assert "capture" not in shop.ledger(activation_id)
    told = [job for job in await shop.jobs(Notify) if job.staff_role == "OPERATIONS"]
    assert {job.dedupe_key for job in told} == {f"capture_refused:{payment_id}"}


async def recover(shop: Shop) -> None:
    """What the worker does every few seconds, and the jobs it defers."""
    async with shop.deps.database.transaction() as conn:
        await find_unknown(shop.deps, conn)
    for job in await shop.jobs(CheckPayment):
        await shop.run_job(job)
    await shop.rows(
        "DELETE FROM jobs.procrastinate_jobs WHERE task_name = %s", CheckPayment.task_name()
    )


async def in_doubt(shop: Shop) -> str:
    """A purchase whose hold stands at the gateway, while its answers never arrive here."""
    shop.partners.fault("payments", "lost", match="POST /payments/transactions")
    answer = await shop.buy()
    assert (answer.status_code, answer.json()["state"]) == (202, "PAYMENT_PENDING")
    shop.partners.http.delete("/faults")
    return answer.json()["activationId"]


async def test_a_hold_in_doubt_is_found_and_finished_without_a_second_hold(shop: Shop):
    activation_id = await in_doubt(shop)
    await recover(shop)  # too early: whoever bought may still be at it
    assert await state(shop, activation_id) == "PROCESSING"
    shop.clock.advance(61)
    await recover(shop)
    assert await state(shop, activation_id) == "AUTHORIZED"
    assert len(await shop.jobs(RequestActivation)) == 1
    assert shop.ledger(activation_id) == {"authorise": 6000}
    shop.clock.advance(61)
    await recover(shop)
    assert len(await shop.jobs(RequestActivation)) == 1


async def test_a_hold_found_too_late_is_let_go_and_nothing_is_delivered(shop: Shop):
    activation_id = await in_doubt(shop)
    shop.clock.advance(901)
    await recover(shop)
    assert await state(shop, activation_id) == "FAILED"
    assert shop.ledger(activation_id) == {"authorise": 6000, "void": 6000}
    assert not await shop.jobs(RequestActivation)
    assert (await shop.buy()).status_code == 202


async def test_a_silent_gateway_leaves_the_payment_in_doubt_until_it_speaks(shop: Shop):
    token = await shop.card()
    shop.partners.fault("payments", "down")
    activation_id = (await shop.buy(token=token)).json()["activationId"]
    shop.clock.advance(61)
    await recover(shop)
    assert await state(shop, activation_id) == "PROCESSING"
    shop.partners.http.delete("/faults")
    shop.clock.advance(61)
    await recover(shop)
    assert await state(shop, activation_id) == "AUTHORIZED"


async def test_a_pending_hold_is_finished_once_the_gateway_has_decided(shop: Shop):
    activation_id = (await shop.buy(pan=PENDING_CARD)).json()["activationId"]

    async def authorised() -> bool:
        shop.clock.advance(6)
        await recover(shop)
        return await state(shop, activation_id) == "AUTHORIZED"

    await eventually(authorised)
    assert len(await shop.jobs(RequestActivation)) == 1


async def charge(shop: Shop, order: UUID, pan: str = GOOD_CARD, **more: Any):
    values: dict[str, Any] = {
        "type": "RESERVATION",
        "amount": Money(420_000),
        "customer_id": shop.customer_id,
        "target": order,
        "payment_token": await shop.card(pan),
        "idempotency_key": f"deposit-{new_id()}",
        "description": "Deposit",
        **more,
    }
    return await billing.charge(shop.deps, **values)


async def test_a_deposit_is_charged_once_whatever_is_asked(shop: Shop):
    order, key, token = new_id(), "one-deposit", await shop.card()
    first = await charge(shop, order, idempotency_key=key, payment_token=token)
    again = await charge(shop, order, idempotency_key=key, payment_token=token)
    assert first.state is PaymentState.CONFIRMED
    assert again == first
    with pytest.raises(Conflict, match="ALREADY_PAID"):
        await charge(shop, order)
    with pytest.raises(Conflict, match="IDEMPOTENCY_CONFLICT"):
        await charge(shop, order, idempotency_key=key, amount=Money(1))
    assert shop.ledger(str(order)) == {"authorise": 420_000, "capture": 420_000}
    (concluded,) = await shop.jobs(PaymentConcluded)
    assert (concluded.target, concluded.state) == (order, PaymentState.CONFIRMED)


async def test_a_declined_deposit_says_why_and_may_be_paid_anew(shop: Shop):
    order = new_id()
    declined = await charge(shop, order, BAD_CARD)
    assert (declined.state, declined.error_code) == (PaymentState.FAILED, "CARD_DECLINED")
    assert (await charge(shop, order)).state is PaymentState.CONFIRMED


async def test_a_charge_in_doubt_is_confirmed_by_the_recovery(shop: Shop):
    order = new_id()
    shop.partners.fault("payments", "lost", match="POST /payments/transactions")
    assert (await charge(shop, order)).state is PaymentState.PROCESSING
    shop.partners.http.delete("/faults")
    assert not await shop.jobs(PaymentConcluded)
    # However late: a vehicle's payment is wanted, so it is not given up.
    shop.clock.advance(2000)
    await recover(shop)
    assert [job.state for job in await shop.jobs(PaymentConcluded)] == ["CONFIRMED"]
    assert shop.ledger(str(order))["capture"] == 420_000


async def test_a_settlement_arrives_by_webhook(shop: Shop):
    activation_id, payment_id = await bought(shop)
    await shop.run_job(capture(activation_id, payment_id))

    async def settled() -> bool:
        await shop.work()
        return await state(shop, activation_id) == "SETTLED"

    await eventually(settled)
    payment = await shop.payment(activation_id)
    assert payment["settled_amount_minor"] == 6000
    assert payment["bank_transaction_id"]


async def test_finance_sees_payments_and_sums(shop: Shop):
    activation_id, _ = await bought(shop)
    headers = shop.token(Role.FINANCE)
    body = (await shop.client.get("/finance/payments", headers=headers)).json()
    assert body["sums"] == [
        {"state": "AUTHORIZED", "payments": 1, "amount": {"amount": "60.00", "currency": "EUR"}}
    ]
    assert body["payments"][0]["target"] == activation_id
    assert "paymentToken" not in body["payments"][0]
    refused = await shop.client.get("/finance/payments", headers=shop.customer)
    assert refused.status_code == 403


async def test_an_invoice_is_its_customers_alone(shop: Shop):
    activation_id, payment_id = await bought(shop)
    await shop.run_job(capture(activation_id, payment_id))
    (invoice,) = (await shop.client.get("/invoices", headers=shop.customer)).json()["invoices"]
    path = f"/invoices/{invoice['invoiceId']}"
    assert (await shop.client.get(path, headers=shop.customer)).json() == invoice
    stranger = shop.token(Role.CUSTOMER, customer_id=new_id())
    assert (await shop.client.get(path, headers=stranger)).status_code == 404
    assert (await shop.client.get(path, headers=shop.token(Role.FINANCE))).status_code == 200
