"""Every row of the tables of DOMAIN 6 and 7, and nothing beside them."""

import itertools

import pytest

from core.contracts.commands import COMMAND, CommandEvent
from core.contracts.states import ActivationState as A
from core.contracts.states import CommandState as C
from core.errors import IllegalTransition
from ota_engine.lifecycle import ACTIVATION
from ota_engine.lifecycle import ActivationEvent as E

# As DOMAIN 6 has them, row by row; "any before ACTIVE" spelled out.
ROWS = [
    (A.PURCHASE_INITIATED, E.PAYMENT_STARTED, A.PAYMENT_PENDING),
    (A.PAYMENT_PENDING, E.AUTHORISED, A.QUEUED),
    (A.PAYMENT_PENDING, E.AUTHORISED_FOR_LATER, A.SCHEDULED),
    (A.PAYMENT_PENDING, E.PAYMENT_REJECTED, A.PAYMENT_FAILED),
    (A.SCHEDULED, E.TIME_DUE, A.QUEUED),
    (A.SCHEDULED, E.BLOCKED, A.CANCELLED_REFUNDED),
    (A.PURCHASE_INITIATED, E.CUSTOMER_CANCELLED, A.CANCELLED_REFUNDED),
    (A.PAYMENT_PENDING, E.CUSTOMER_CANCELLED, A.CANCELLED_REFUNDED),
    (A.SCHEDULED, E.CUSTOMER_CANCELLED, A.CANCELLED_REFUNDED),
    (A.QUEUED, E.CUSTOMER_CANCELLED, A.CANCELLED_REFUNDED),
    (A.ATTEMPTING, E.CUSTOMER_CANCELLED, A.CANCELLED_REFUNDED),
    (A.WAITING_SAFE_STATE, E.CUSTOMER_CANCELLED, A.CANCELLED_REFUNDED),
    (A.RETRY_SCHEDULED, E.CUSTOMER_CANCELLED, A.CANCELLED_REFUNDED),
    (A.ESCALATED, E.CUSTOMER_CANCELLED, A.CANCELLED_REFUNDED),
    (A.QUEUED, E.ATTEMPT_STARTED, A.ATTEMPTING),
    (A.ATTEMPTING, E.PROVEN, A.ACTIVE),
    (A.ATTEMPTING, E.DEFERRED, A.WAITING_SAFE_STATE),
    (A.WAITING_SAFE_STATE, E.SAFE_STATE_REPORTED, A.ATTEMPTING),
    (A.WAITING_SAFE_STATE, E.SAFE_STATE_WAIT_OVER, A.ESCALATED),
    (A.ATTEMPTING, E.RECOVERABLE_FAILURE, A.RETRY_SCHEDULED),
    (A.RETRY_SCHEDULED, E.ATTEMPT_STARTED, A.ATTEMPTING),
    (A.ATTEMPTING, E.TERMINAL_FAILURE, A.ESCALATED),
    (A.ESCALATED, E.PAYMENT_RELEASED, A.FAILED_NO_CHARGE),
    # DOMAIN 7, late success
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
    (A.CANCELLED_NO_REFUND, E.TIME_OVER, A.EXPIRED),
]
LISTED = {(state, event) for state, event, _ in ROWS}
UNLISTED = [pair for pair in itertools.product(A, E) if pair not in LISTED]


@pytest.mark.parametrize(("state", "event", "target"), ROWS)
def test_every_listed_transition_of_domain_6(state: A, event: E, target: A) -> None:
    assert ACTIVATION.next(state, event) is target


def test_every_unlisted_transition_is_refused() -> None:
    assert len(UNLISTED) == len(A) * len(E) - len(ROWS)
    for state, event in UNLISTED:
        with pytest.raises(IllegalTransition):
            ACTIVATION.next(state, event)


def test_nothing_is_captured_from_a_state_whose_money_is_free() -> None:
    """S1: ACTIVE is never reached from a cancelled, expired or failed activation but by hand."""
    sources = set(ACTIVATION.sources(E.PROVEN))
    assert sources == {
        A.ATTEMPTING,
        A.WAITING_SAFE_STATE,
        A.RETRY_SCHEDULED,
        A.ESCALATED,
        A.MANUAL_ATTEMPT,
    }


@pytest.mark.parametrize(
    ("state", "event", "target"),
    [
        (C.QUEUED, CommandEvent.PUBLISHED, C.IN_PROGRESS),
        (C.IN_PROGRESS, CommandEvent.PROVEN, C.COMPLETED),
        (C.IN_PROGRESS, CommandEvent.FAILED, C.FAILED),
        (C.QUEUED, CommandEvent.PROVEN, C.COMPLETED),
        (C.QUEUED, CommandEvent.FAILED, C.FAILED),
    ],
)
def test_every_command_transition_of_domain_7(state: C, event: CommandEvent, target: C) -> None:
    assert COMMAND.next(state, event) is target


def test_a_closed_command_stays_closed() -> None:
    for state, event in itertools.product((C.COMPLETED, C.FAILED), CommandEvent):
        assert not COMMAND.allows(state, event)
