"""The states of a payment (DOMAIN 11): every row of the table, and nothing else."""

from enum import StrEnum

from core.contracts.states import PaymentState as S
from core.machine import Machine


class PaymentEvent(StrEnum):
    """What moves a payment."""

    SEND = "SEND"
    DECLINE = "DECLINE"
    RETRY = "RETRY"
    ABANDON = "ABANDON"
    CONFIRM = "CONFIRM"  # a vehicle's payment: charged
    AUTHORISE = "AUTHORISE"  # a service's payment: held
    VOID = "VOID"
    CAPTURE = "CAPTURE"
    SETTLE = "SETTLE"
    SETTLEMENT_REFUSED = "SETTLEMENT_REFUSED"
    SETTLEMENT_SILENT = "SETTLEMENT_SILENT"
    REFUND = "REFUND"
    REFUND_DONE = "REFUND_DONE"
    CHARGE_BACK = "CHARGE_BACK"


E = PaymentEvent

PAYMENT: Machine[S, PaymentEvent] = Machine(
    "payment",
    [
        (S.INITIATED, E.SEND, S.PROCESSING),
        (S.PROCESSING, E.DECLINE, S.FAILED),
        (S.FAILED, E.RETRY, S.PROCESSING),
        (S.FAILED, E.ABANDON, S.ABANDONED),
        (S.PROCESSING, E.CONFIRM, S.CONFIRMED),
        (S.PROCESSING, E.AUTHORISE, S.AUTHORIZED),
        (S.AUTHORIZED, E.VOID, S.VOIDED),
        (S.AUTHORIZED, E.CAPTURE, S.CAPTURED),
        (S.CONFIRMED, E.SETTLE, S.SETTLED),
        (S.CAPTURED, E.SETTLE, S.SETTLED),
        (S.CAPTURED, E.SETTLEMENT_REFUSED, S.SETTLEMENT_FAILED),
        (S.CAPTURED, E.SETTLEMENT_SILENT, S.SETTLEMENT_TIMEOUT),
        (S.CONFIRMED, E.REFUND, S.REFUNDING),
        (S.CAPTURED, E.REFUND, S.REFUNDING),
        (S.SETTLED, E.REFUND, S.REFUNDING),
        (S.REFUNDING, E.REFUND_DONE, S.REFUNDED),
        (S.SETTLED, E.CHARGE_BACK, S.CHARGEBACK),
    ],
    initial=S.INITIATED,
    final=[
        S.ABANDONED,
        S.VOIDED,
        S.SETTLEMENT_FAILED,
        S.SETTLEMENT_TIMEOUT,
        S.REFUNDED,
        S.CHARGEBACK,
    ],
)

# Money is with us, or on its way to us: giving it back is a refund.
TAKEN = frozenset({S.CONFIRMED, S.CAPTURED, S.SETTLED})
# Money is back with the customer, or was never taken.
FREE = frozenset({S.FAILED, S.ABANDONED, S.VOIDED})
