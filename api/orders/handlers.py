"""Which of the sale's functions runs which job of the worker."""

from collections.abc import Mapping
from functools import partial

from api.billing.jobs import PaymentConcluded
from api.deps import ApiDeps
from api.orders import linking, manufacturing, payments, registration
from api.orders.jobs import ApplyFactoryStatus, RegisterVehicle, SubmitFactoryOrder
from core.contracts.jobs import Job, LinkConfirmed
from core.jobs import Handler


def handlers(deps: ApiDeps) -> Mapping[type[Job], Handler]:
    """The jobs of this noun."""
    return {
        SubmitFactoryOrder: partial(manufacturing.submit, deps),
        ApplyFactoryStatus: partial(manufacturing.apply_status, deps),
        RegisterVehicle: partial(registration.work, deps),
        PaymentConcluded: partial(_payment_concluded, deps),
        LinkConfirmed: partial(linking.confirm, deps),
    }


async def _payment_concluded(deps: ApiDeps, job: PaymentConcluded) -> None:
    async with deps.database.transaction() as conn:
        await payments.conclude(conn, job, deps.settings.sale, deps.clock.now())
