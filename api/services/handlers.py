"""The worker's jobs and periodic work of services."""

from collections.abc import Mapping
from functools import partial

from api.billing import recovery
from api.billing.jobs import CheckPayment
from api.deps import ApiDeps
from api.periodic import Periodic
from api.services import purchase, withdrawal
from core.contracts.jobs import ActivationClosed, Job
from core.jobs import Handler


def handlers(deps: ApiDeps) -> Mapping[type[Job], Handler]:
    """Job → what runs it. A payment's check is here, as what follows it is the purchase's."""

    async def check(job: CheckPayment) -> None:
        await recovery.check(deps, job.payment_id, purchase.follow_up(deps))

    return {
        CheckPayment: check,
        ActivationClosed: partial(withdrawal.closed, deps),
    }


def periodics(deps: ApiDeps) -> tuple[Periodic, ...]:
    """Looking for payments whose fate nobody wrote down."""
    return (
        Periodic(
            "recover-payments",
            deps.settings.billing.recover_every_s,
            partial(recovery.find_unknown, deps),
        ),
    )
