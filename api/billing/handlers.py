"""The worker's jobs of billing."""

from collections.abc import Mapping
from functools import partial

from api.billing import release, webhooks
from api.billing.jobs import PaymentWebhook, RefundPayment
from api.deps import ApiDeps
from core.contracts.jobs import CapturePayment, Job, ReleasePayment
from core.jobs import Handler


def handlers(deps: ApiDeps) -> Mapping[type[Job], Handler]:
    """Job → what runs it."""

    async def refund(job: RefundPayment) -> None:
        await release.free(deps, job.payment_id, job.reason)

    return {
        CapturePayment: partial(release.capture, deps),
        ReleasePayment: partial(release.release, deps),
        RefundPayment: refund,
        PaymentWebhook: partial(webhooks.work_off, deps),
    }
