"""The purchase table of DOMAIN 6."""

import pytest

from api.services.lifecycle import PURCHASE, PurchaseEvent, PurchaseState
from core.errors import IllegalTransition


def test_a_purchase_goes_by_gate_and_payment_to_the_queue():
    state = PURCHASE.initial
    for event in (PurchaseEvent.ALLOWED, PurchaseEvent.PAY, PurchaseEvent.AUTHORISED):
        state = PURCHASE.next(state, event)
    assert state is PurchaseState.QUEUED


def test_a_rejected_payment_leaves_the_option_purchasable():
    state = PURCHASE.next(PurchaseState.PAYMENT, PurchaseEvent.REJECTED)
    assert state is PurchaseState.PURCHASABLE


def test_nothing_is_queued_without_a_payment():
    assert PURCHASE.sources(PurchaseEvent.AUTHORISED) == (PurchaseState.PAYMENT,)
    with pytest.raises(IllegalTransition):
        PURCHASE.next(PurchaseState.BLOCKED, PurchaseEvent.PAY)
