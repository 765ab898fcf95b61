"""Payments left PROCESSING by a crash or a silent gateway: found, asked for, finished or let go."""

from datetime import timedelta
from uuid import UUID

import core.log
from api.billing import repository, service
from api.billing.jobs import CheckPayment
from api.billing.repository import Payment
from api.billing.service import FollowUp
from api.deps import ApiDeps
from api.partners.http import PartnerUnavailable
from api.partners.payments import GatewayStatus, PaymentGateway
from core.contracts.states import PaymentState
from core.db import Connection
from core.jobs import defer

log = core.log.get(__name__)


async def find_unknown(deps: ApiDeps, conn: Connection) -> None:
    """Defer a check for every payment that has been PROCESSING for too long."""
    now = deps.clock.now()
    # The next check, should this one find no answer either.
    next_check = now + timedelta(seconds=deps.settings.billing.recover_after_s)
    for payment_id in await repository.claim_unknown(conn, now=now, next_check=next_check):
        await defer(conn, CheckPayment(payment_id))


async def check(deps: ApiDeps, payment_id: UUID, follow: FollowUp) -> None:
    """Ask the gateway and finish the payment. The same key again never charges twice."""
    async with deps.database.transaction() as conn:
        payment = await repository.payment(conn, payment_id)
    if payment.status is not PaymentState.PROCESSING:
        return
    log.info("payment recovery", payment_id=str(payment_id), type=payment.type)
    if payment.is_hold and _too_late(deps, payment):
        await _give_up(deps, payment, follow)
    else:
        await service.submit(deps, payment, follow if payment.is_hold else None)


def _too_late(deps: ApiDeps, payment: Payment) -> bool:
    limit = timedelta(seconds=deps.settings.billing.give_up_after_s)
    return deps.clock.now() - payment.created_at > limit


async def _give_up(deps: ApiDeps, payment: Payment, follow: FollowUp) -> None:
    """A hold nobody waits for any more is let go; the purchase counts as rejected (S4)."""
    try:
        answer = await service.ask(deps, payment)
        if answer.transaction_id is not None and answer.status in (
            GatewayStatus.AUTHORIZED,
            GatewayStatus.PENDING,
        ):
            answer = await PaymentGateway(deps.partners.payments).void(answer.transaction_id)
    except PartnerUnavailable as error:
        log.error("payment in doubt", payment_id=str(payment.payment_id), error=str(error))
        return
    async with deps.database.transaction() as conn:
        present = await repository.payment(conn, payment.payment_id, lock=True)
        if present.status is PaymentState.PROCESSING:
            await service.conclude(conn, deps, present, answer, follow)
