"""The checks of DOMAIN 6 in their order, prices, firmware and the withdrawal window."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.services.rules import (
    BEFORE_ACTIVE,
    DURATION_DAYS,
    LIVE_STATES,
    ON_STATES,
    Candidate,
    Occupied,
    Tier,
    firmware_at_least,
    first_refusal,
    overlaps,
    price_of,
    withdrawal_granted,
)
from core.errors import Conflict, Forbidden, Invalid
from core.money import Money

T0 = datetime(2026, 11, 24, 8, tzinfo=UTC)
GOOD = Candidate(
    order_operational=True,
    owner=True,
    on_platform=True,
    firmware="2.4.1",
    min_firmware="2.3",
    hidden=False,
    conflicting=False,
    price=Money(300_000),
    cap=Money(300_000),
)
# Each flaw in the order of DOMAIN 6.
FLAWS = [
    ({"order_operational": False}, "NOT_OPERATIONAL", Conflict),
    ({"owner": False}, "NOT_OWNER", Forbidden),
    ({"on_platform": False}, "INCOMPATIBLE", Invalid),
    ({"firmware": "2.2.9"}, "FIRMWARE_TOO_OLD", Invalid),
    ({"hidden": True}, "SERVICE_HIDDEN", Forbidden),
    ({"conflicting": True}, "CONFLICT", Conflict),
    ({"price": Money(300_001)}, "CAP_EXCEEDED", Invalid),
]


def test_a_good_case_passes_and_the_cap_is_inclusive():
    assert first_refusal(GOOD) is None


@pytest.mark.parametrize(("flaw", "code", "kind"), FLAWS)
def test_each_flaw_alone_has_its_code(flaw, code, kind):
    refusal = first_refusal(replace(GOOD, **flaw))
    assert refusal is not None
    assert isinstance(refusal, kind)
    assert refusal.code == code


@pytest.mark.parametrize("first", range(len(FLAWS)))
def test_the_earliest_flaw_wins(first):
    flaws = {}
    for flaw, _, _ in FLAWS[first:]:
        flaws |= flaw
    refusal = first_refusal(replace(GOOD, **flaws))
    assert refusal is not None
    assert refusal.code == FLAWS[first][1]


def test_a_stranger_learns_nothing_but_that_the_car_is_not_his():
    refusal = first_refusal(replace(GOOD, order_operational=None, owner=False, on_platform=False))
    assert refusal is not None
    assert refusal.code == "NOT_OWNER"


@pytest.mark.parametrize(
    ("firmware", "minimum", "enough"),
    [
        ("2.3", "2.3", True),
        ("2.3.0", "2.3", True),
        ("2.3", "2.3.0", True),
        ("2.2.9", "2.3", False),
        ("2.10", "2.9", True),
        ("2.4.1-rc1", "2.4.1", True),
        ("10", "9.9.9", True),
        ("", "2.3", False),
        ("unknown", "2.3", False),
    ],
)
def test_firmware_is_compared_number_by_number(firmware, minimum, enough):
    assert firmware_at_least(firmware, minimum) is enough


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_a_firmware_is_at_least_itself(parts):
    text = ".".join(map(str, parts))
    assert firmware_at_least(text, text)


def test_durations_are_those_of_the_price_table():
    assert DURATION_DAYS == {
        Tier.DAY: 1,
        Tier.WEEK: 7,
        Tier.MONTH: 30,
        Tier.QUARTER: 90,
        Tier.PERMANENT: None,
    }


@pytest.mark.parametrize(
    ("discount", "minor"), [(0, 6000), (10, 5400), (100, 1), (150, 1), (-5, 6000), (33, 4020)]
)
def test_the_plan_discount_comes_off_the_tier(discount, minor):
    assert price_of(Money(6000), discount) == Money(minor)


def day(number):
    return T0 + timedelta(days=number)


@pytest.mark.parametrize(
    ("wanted", "taken", "both"),
    [
        (Occupied(day(0), day(7)), Occupied(day(7), day(8)), False),
        (Occupied(day(0), day(7)), Occupied(day(6), day(8)), True),
        (Occupied(day(0), None), Occupied(day(300), day(301)), True),
        (Occupied(day(8), None), Occupied(day(1), day(8)), False),
        (Occupied(day(8), day(9)), Occupied(day(0), None), True),
    ],
)
def test_times_overlap_or_follow_each_other(wanted, taken, both):
    assert overlaps(wanted, taken) is both
    assert overlaps(taken, wanted) is both


def test_live_states_are_before_active_or_on():
    assert BEFORE_ACTIVE | ON_STATES == LIVE_STATES
    assert not BEFORE_ACTIVE & ON_STATES


def granted(now, *, days, zone="Europe/Madrid", activated=T0):
    return withdrawal_granted(
        activated_at=activated,
        expires_at=None if days is None else activated + timedelta(days=days),
        duration_days=days,
        now=now,
        time_zone=zone,
        window_days=14,
        long_threshold_days=14,
    )


@pytest.mark.parametrize("days", [1, 7, 14])
def test_a_short_contract_can_be_given_back_until_it_expires(days):
    end = T0 + timedelta(days=days)
    assert granted(end - timedelta(seconds=1), days=days)
    assert not granted(end, days=days)


@pytest.mark.parametrize("days", [15, 30, 90, None])
def test_a_long_contract_can_be_given_back_through_day_14(days):
    # Madrid is UTC+1: the 24th + 14 = 8 December ends at 23:00 UTC.
    closes = datetime(2026, 12, 8, 23, tzinfo=UTC)
    assert granted(closes - timedelta(seconds=1), days=days)
    assert not granted(closes, days=days)


def test_the_window_closes_on_the_customers_clock():
    late_evening = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)  # already the 25th in Madrid
    moment = datetime(2026, 12, 9, 12, tzinfo=UTC)
    assert granted(moment, days=None, activated=late_evening)
    assert not granted(moment, days=None, activated=late_evening, zone="Atlantic/Azores")


def test_the_window_survives_the_change_of_summer_time():
    activated = datetime(2026, 10, 20, 8, tzinfo=UTC)  # CEST; day 14 ends in CET
    closes = datetime(2026, 11, 3, 23, tzinfo=UTC)
    assert granted(closes - timedelta(seconds=1), days=None, activated=activated)
    assert not granted(closes, days=None, activated=activated)
