"""Cancelling before it is on, giving it back while the window is open, and being too late."""

import asyncio
from uuid import UUID

import httpx
import pytest

from api.billing.jobs import RefundPayment
from core.contracts.jobs import (
    ActivationClosed,
    CancelActivation,
    CapturePayment,
    Notify,
    WithdrawActivation,
)
from core.contracts.states import Role
from core.ids import new_id
from tests.api.shop import VIN, Shop

ALL = {"eligibility": "ELIGIBLE", "refundAmount": {"amount": "60.00", "currency": "EUR"}}
NOTHING = {"eligibility": "INELIGIBLE", "refundAmount": {"amount": "0.00", "currency": "EUR"}}
DAY_S = 86400


async def cancel(shop: Shop, activation_id: str, reason: str | None = None) -> httpx.Response:
    return await shop.client.post(
        f"/services/{activation_id}/cancel",
        json={"reason": reason} if reason else {},
        headers=shop.customer,
    )


async def active(shop: Shop, *, tier: str = "WEEK", days: int | None = 7) -> str:
    """A service that is on and paid."""
    activation_id = (await shop.buy(tier=tier)).json()["activationId"]
    await shop.engine_says(activation_id, "ACTIVE", duration_days=days)
    payment = await shop.payment(activation_id)
    await shop.run_job(CapturePayment(UUID(activation_id), payment["payment_id"]))
    return activation_id


async def test_before_it_is_on_everything_goes_back_once(shop: Shop):
    activation_id = (await shop.buy()).json()["activationId"]
    answers = await asyncio.gather(*(cancel(shop, activation_id, "THEFT") for _ in range(4)))
    assert [answer.json() for answer in answers] == [ALL] * 4
    (job,) = await shop.jobs(CancelActivation)
    assert (str(job.activation_id), job.reason) == (activation_id, "THEFT")
    assert not await shop.jobs(RefundPayment)


@pytest.mark.parametrize("state", ["QUEUED", "ATTEMPTING", "WAITING_SAFE_STATE", "ESCALATED"])
async def test_it_can_be_cancelled_in_every_state_before_active(shop: Shop, state: str):
    activation_id = (await shop.buy()).json()["activationId"]
    await shop.engine_says(activation_id, state)
    assert (await cancel(shop, activation_id)).json() == ALL
    assert len(await shop.jobs(CancelActivation)) == 1


async def test_an_active_service_is_refunded_and_switched_off(shop: Shop):
    activation_id = await active(shop)
    shop.clock.advance(6 * DAY_S)
    assert (await cancel(shop, activation_id)).json() == ALL
    assert (await cancel(shop, activation_id)).json() == ALL
    assert len(await shop.jobs(WithdrawActivation)) == 1
    (refund,) = await shop.jobs(RefundPayment)
    await shop.run_job(refund)
    assert (await shop.payment(activation_id))["state"] == "REFUNDING"
    assert not await shop.jobs(CancelActivation)

    closed = ActivationClosed(UUID(activation_id), switched_off=True)
    await shop.run_job(closed)
    await shop.run_job(closed)
    (request,) = await shop.rows("SELECT * FROM services.cancellation_request")
    assert (request["status"], request["switched_off"]) == ("COMPLETED", True)
    events = [job.event for job in await shop.jobs(Notify)]
    assert events.count("withdrawal_done") == 1
    assert events.count("cancellation") == 1


async def test_a_long_contract_is_given_back_through_day_14_only(shop: Shop):
    activation_id = await active(shop, tier="MONTH", days=30)
    shop.clock.advance(15 * DAY_S)
    assert (await cancel(shop, activation_id)).json() == NOTHING
    assert (await cancel(shop, activation_id)).json() == NOTHING
    assert not await shop.jobs(WithdrawActivation)
    assert not await shop.jobs(RefundPayment)
    assert len(await shop.rows("SELECT status FROM services.cancellation_request")) == 1
    assert (await shop.payment(activation_id))["state"] == "CAPTURED"


async def test_a_capture_still_waiting_is_void_when_it_comes(shop: Shop):
    activation_id = (await shop.buy()).json()["activationId"]
    await shop.engine_says(activation_id, "ACTIVE")
    assert (await cancel(shop, activation_id)).json() == ALL
    (refund,) = await shop.jobs(RefundPayment)
    await shop.run_job(refund)
    payment = await shop.payment(activation_id)
    await shop.run_job(CapturePayment(UUID(activation_id), payment["payment_id"]))
    assert shop.ledger(activation_id) == {"authorise": 6000, "void": 6000}


@pytest.mark.parametrize("state", ["EXPIRED", "FAILED_NO_CHARGE", "DEACTIVATED"])
async def test_what_has_ended_is_not_given_back(shop: Shop, state: str):
    activation_id = (await shop.buy()).json()["activationId"]
    await shop.engine_says(activation_id, state)
    assert (await cancel(shop, activation_id)).json() == NOTHING


async def test_dissatisfaction_hides_the_service_where_the_policy_is_on(shop: Shop):
    await shop.rows("UPDATE config.service SET hide_after_withdrawal = true")
    activation_id = await active(shop)
    await cancel(shop, activation_id, "DISSATISFACTION")
    catalogue = await shop.client.get(f"/services/catalog?vin={VIN}", headers=shop.customer)
    assert "PERF_BOOST_50" not in {item["code"] for item in catalogue.json()["services"]}


async def test_a_technical_failure_never_hides(shop: Shop):
    await shop.rows("UPDATE config.service SET hide_after_withdrawal = true")
    await cancel(shop, await active(shop), "TECHNICAL_FAILURE")
    assert not await shop.rows("SELECT service_code FROM services.hidden")


async def test_another_customers_activation_is_404(shop: Shop):
    activation_id = await active(shop)
    answer = await shop.client.post(
        f"/services/{activation_id}/cancel",
        headers=shop.token(Role.CUSTOMER, customer_id=new_id()),
    )
    assert answer.status_code == 404
