"""The worker as it runs: what an API process left behind is finished, mailed and captured."""

import asyncio
from uuid import UUID

import pytest

from api.main import run_worker
from core.contracts.jobs import CapturePayment, RequestActivation
from core.jobs import defer
from tests.api.shop import Shop, eventually


@pytest.fixture
def environment(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's settings, as its process would be given them."""
    partner = shop.deps.settings.partner
    for name, value in {
        "CAAS_DB_DSN": shop.dsn,
        "CAAS_DB_SET_ROLE": "true",
        "CAAS_PARTNER_PAYMENTS_URL": partner.payments_url,
        "CAAS_PARTNER_PAYMENTS_TOKEN": partner.payments_token.get_secret_value(),
        "CAAS_PARTNER_SMTP_PORT": str(partner.smtp_port),
        "CAAS_BILLING_RECOVER_EVERY_S": "0.1",
        "CAAS_BILLING_RECOVER_AFTER_S": "0.5",
        "CAAS_JOBS_POLL_S": "0.2",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
async def test_the_worker_finishes_what_a_dead_process_left(shop: Shop):
    shop.partners.fault("payments", "lost", match="POST /payments/transactions")
    activation_id = (await shop.buy()).json()["activationId"]
    shop.partners.http.delete("/faults")
    # The process that bought it is gone; its minute is over.
    await shop.rows("UPDATE billing.payment SET check_at = now()")
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(stop))

    async def state() -> str:
        return (await shop.payment(activation_id))["state"]

    async def in_state(wanted: str) -> bool:
        assert not worker.done()
        return await state() == wanted

    await eventually(lambda: in_state("AUTHORIZED"), 30)
    assert len(await shop.jobs(RequestActivation)) == 1
    # The engine takes its job; those of one activation run one after the other.
    await shop.rows(
        "DELETE FROM jobs.procrastinate_jobs WHERE task_name = %s", RequestActivation.task_name()
    )
    payment = await shop.payment(activation_id)
    async with shop.deps.database.transaction() as conn:
        await defer(conn, CapturePayment(UUID(activation_id), payment["payment_id"]))
    # The bank's webhook comes to the API, its job to the worker.
    await eventually(lambda: in_state("SETTLED"), 30)
    await eventually(lambda: shop.mails(to="eva@example.com", subject="confirmed"), 30)
    stop.set()
    await worker
    assert shop.ledger(activation_id) == {"authorise": 6000, "capture": 6000}
    assert not await shop.jobs(RequestActivation)
