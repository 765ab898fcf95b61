"""The payment table of DOMAIN 11, VAT and invoice numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.billing.lifecycle import FREE, PAYMENT, TAKEN, PaymentEvent
from api.billing.rules import VAT_PERCENT, invoice_number, split_vat
from core.contracts.states import PaymentState as S
from core.errors import IllegalTransition


def reachable(state: S) -> set[S]:
    seen, todo = {state}, [state]
    while todo:
        here = todo.pop()
        for (source, _), target in PAYMENT.table.items():
            if source == here and target not in seen:
                seen.add(target)
                todo.append(target)
    return seen


def test_every_state_can_be_reached():
    assert reachable(PAYMENT.initial) == set(S)


def test_a_voided_hold_can_never_be_captured_nor_a_captured_one_voided():
    assert S.CAPTURED not in reachable(S.VOIDED)
    assert S.VOIDED not in reachable(S.CAPTURED)
    assert PAYMENT.sources(PaymentEvent.CAPTURE) == (S.AUTHORIZED,)


def test_only_money_that_was_taken_is_refunded():
    assert set(PAYMENT.sources(PaymentEvent.REFUND)) == TAKEN
    assert not TAKEN & FREE


def test_a_declined_payment_may_be_tried_again_or_given_up():
    assert PAYMENT.next(S.FAILED, PaymentEvent.RETRY) is S.PROCESSING
    assert PAYMENT.next(S.FAILED, PaymentEvent.ABANDON) is S.ABANDONED


def test_what_the_table_does_not_list_is_refused():
    with pytest.raises(IllegalTransition):
        PAYMENT.next(S.INITIATED, PaymentEvent.CAPTURE)


@pytest.mark.parametrize(
    ("country", "net", "vat"),
    [("ES", 4959, 1041), ("FR", 5000, 1000), ("DE", 5042, 958), ("de", 5042, 958)],
)
def test_vat_is_inside_the_price(country, net, vat):
    split = split_vat(6000, country)
    assert (split.net_minor, split.vat_minor) == (net, vat)


@given(st.integers(1, 10**9), st.sampled_from([*VAT_PERCENT, "PT"]))
def test_net_and_tax_make_the_price_again(total, country):
    split = split_vat(total, country)
    assert split.net_minor + split.vat_minor == total
    assert 0 <= split.vat_minor < split.net_minor or total < 10


def test_invoice_numbers_sort():
    assert invoice_number("INV-2026", 7) == "INV-2026-000007"
