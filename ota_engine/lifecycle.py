"""What may become of an activation (DOMAIN 6) and of a command (DOMAIN 7), as tables."""

from enum import StrEnum

from core.contracts.states import ActivationState as A
from core.contracts.states import CommandState as C
from core.machine import Machine


class ActivationEvent(StrEnum):
    """What can happen to an activation."""

    PAYMENT_STARTED = "PAYMENT_STARTED"
    AUTHORISED = "AUTHORISED"
    AUTHORISED_FOR_LATER = "AUTHORISED_FOR_LATER"
    PAYMENT_REJECTED = "PAYMENT_REJECTED"
    TIME_DUE = "TIME_DUE"
    BLOCKED = "BLOCKED"  # the maintenance gate, asked again at a planned start
    CUSTOMER_CANCELLED = "CUSTOMER_CANCELLED"
    ATTEMPT_STARTED = "ATTEMPT_STARTED"  # a worker is free, or the retry timer rang
    PROVEN = "PROVEN"  # the reported configuration matches (S6)
    DEFERRED = "DEFERRED"
    SAFE_STATE_REPORTED = "SAFE_STATE_REPORTED"
    SAFE_STATE_WAIT_OVER = "SAFE_STATE_WAIT_OVER"
    RECOVERABLE_FAILURE = "RECOVERABLE_FAILURE"
    TERMINAL_FAILURE = "TERMINAL_FAILURE"  # will not go away, or the retries are used up
    PAYMENT_RELEASED = "PAYMENT_RELEASED"  # voided or refunded
    MANUAL_RETRY = "MANUAL_RETRY"
    REFUND_VERIFIED = "REFUND_VERIFIED"
    WITHDRAWAL_GRANTED = "WITHDRAWAL_GRANTED"
    WITHDRAWAL_TOO_LATE = "WITHDRAWAL_TOO_LATE"
    TIME_OVER = "TIME_OVER"
    SUBSCRIPTION_ENDED = "SUBSCRIPTION_ENDED"  # ended or unpaid


E = ActivationEvent

# "Any before ACTIVE" of DOMAIN 6; after FAILED_NO_CHARGE the money is free already.
BEFORE_ACTIVE = (
    A.PURCHASE_INITIATED,
    A.PAYMENT_PENDING,
    A.SCHEDULED,
    A.QUEUED,
    A.ATTEMPTING,
    A.WAITING_SAFE_STATE,
    A.RETRY_SCHEDULED,
    A.ESCALATED,
)
# The customer may use it; what it needs is not switched off for another's end.
IN_USE = (A.ACTIVE, A.CANCELLED_NO_REFUND)

ACTIVATION: Machine[A, E] = Machine(
    "activation",
    [
        (A.PURCHASE_INITIATED, E.PAYMENT_STARTED, A.PAYMENT_PENDING),
        (A.PAYMENT_PENDING, E.AUTHORISED, A.QUEUED),
        (A.PAYMENT_PENDING, E.AUTHORISED_FOR_LATER, A.SCHEDULED),
        (A.PAYMENT_PENDING, E.PAYMENT_REJECTED, A.PAYMENT_FAILED),
        (A.SCHEDULED, E.TIME_DUE, A.QUEUED),
        (A.SCHEDULED, E.BLOCKED, A.CANCELLED_REFUNDED),
        *((state, E.CUSTOMER_CANCELLED, A.CANCELLED_REFUNDED) for state in BEFORE_ACTIVE),
        (A.QUEUED, E.ATTEMPT_STARTED, A.ATTEMPTING),
        (A.ATTEMPTING, E.PROVEN, A.ACTIVE),
        (A.ATTEMPTING, E.DEFERRED, A.WAITING_SAFE_STATE),
        (A.WAITING_SAFE_STATE, E.SAFE_STATE_REPORTED, A.ATTEMPTING),
        (A.WAITING_SAFE_STATE, E.SAFE_STATE_WAIT_OVER, A.ESCALATED),
        (A.ATTEMPTING, E.RECOVERABLE_FAILURE, A.RETRY_SCHEDULED),
        (A.RETRY_SCHEDULED, E.ATTEMPT_STARTED, A.ATTEMPTING),
        (A.ATTEMPTING, E.TERMINAL_FAILURE, A.ESCALATED),
        (A.ESCALATED, E.PAYMENT_RELEASED, A.FAILED_NO_CHARGE),
        # Late success before FAILED_NO_CHARGE counts as success (DOMAIN 7).
        (A.WAITING_SAFE_STATE, E.PROVEN, A.ACTIVE),
        (A.RETRY_SCHEDULED, E.PROVEN, A.ACTIVE),
        (A.ESCALATED, E.PROVEN, A.ACTIVE),
        (A.FAILED_NO_CHARGE, E.MANUAL_RETRY, A.MANUAL_ATTEMPT),
        (A.MANUAL_ATTEMPT, E.PROVEN, A.ACTIVE),
        (A.MANUAL_ATTEMPT, E.TERMINAL_FAILURE, A.PERMANENT_FAILURE),
        (A.PERMANENT_FAILURE, E.REFUND_VERIFIED, A.FAILED_NO_CHARGE),
        (A.ACTIVE, E.WITHDRAWAL_GRANTED, A.CANCELLED_REFUNDED),
        (A.ACTIVE, E.WITHDRAWAL_TOO_LATE, A.CANCELLED_NO_REFUND),
        (A.ACTIVE, E.TIME_OVER, A.EXPIRED),
        (A.ACTIVE, E.SUBSCRIPTION_ENDED, A.DEACTIVATED),
        # "Stays on until expiry".
        (A.CANCELLED_NO_REFUND, E.TIME_OVER, A.EXPIRED),
    ],
    initial=A.PURCHASE_INITIATED,
    final=(A.PAYMENT_FAILED, A.CANCELLED_REFUNDED, A.EXPIRED, A.DEACTIVATED),
)


class CommandEvent(StrEnum):
    """What can happen to a command."""

    PUBLISHED = "PUBLISHED"
    PROVEN = "PROVEN"  # of a query or a text: answered
    FAILED = "FAILED"  # rejected, expired, or its time is over


COMMAND: Machine[C, CommandEvent] = Machine(
    "command",
    [
        (C.QUEUED, CommandEvent.PUBLISHED, C.IN_PROGRESS),
        (C.IN_PROGRESS, CommandEvent.PROVEN, C.COMPLETED),
        (C.IN_PROGRESS, CommandEvent.FAILED, C.FAILED),
        # The car can be faster than our note that the broker confirmed, and a crash can come
        # between the two: the command is out although its row says QUEUED.
        (C.QUEUED, CommandEvent.PROVEN, C.COMPLETED),
        (C.QUEUED, CommandEvent.FAILED, C.FAILED),
    ],
    initial=C.QUEUED,
    final=(C.COMPLETED, C.FAILED),
)
