"""Classification and delays of DOMAIN 7, row by row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contracts.bus import Reason
from ota_engine.retry import HANDLING, Failure, Handling, RetryPolicy, delay_s, failure_of

POLICY = RetryPolicy()

# DOMAIN 7, failure table: (row, failures that fall under it, handling)
ROWS = [
    ("transient network, congestion", [Failure.TRANSIENT_NETWORK], Handling.RETRY),
    ("offline, no signal", [Failure.OFFLINE], Handling.RETRY_LONGER),
    ("busy", [Failure.BUSY], Handling.RETRY),
    ("driving, off", [Failure.UNSAFE_STATE], Handling.WAIT_SAFE_STATE),
    ("IoT API 5xx", [Failure.IOT_API_ERROR], Handling.RETRY),
    ("no answer in time, EXPIRED", [Failure.TIMEOUT, Failure.EXPIRED], Handling.QUERY_FIRST),
    ("IoT API down, breaker open", [Failure.IOT_API_DOWN], Handling.WAIT),
    ("quota (429)", [Failure.QUOTA], Handling.WAIT),
    (
        "invalid or rejected configuration",
        [Failure.UNKNOWN_PARAMETER, Failure.INVALID_VALUE, Failure.MALFORMED],
        Handling.ESCALATE,
    ),
    ("incompatible vehicle", [Failure.INCOMPATIBLE], Handling.ESCALATE),
    ("IoT API refuses authorisation", [Failure.UNAUTHORISED], Handling.ESCALATE),
    ("conflict with active service", [Failure.CONFLICT], Handling.ESCALATE),
    ("firmware error", [Failure.FIRMWARE_ERROR], Handling.ESCALATE),
    ("bad signature", [Failure.BAD_SIGNATURE, Failure.WRONG_VEHICLE], Handling.ESCALATE),
    ("REPLAYED (security alert)", [Failure.REPLAYED], Handling.ESCALATE),
    ("unknown vehicle", [Failure.UNKNOWN_VIN], Handling.ESCALATE),
    ("partial activation", [Failure.PARTIAL], Handling.CYCLE),
    ("DOMAIN 6: 24 h over", [Failure.SAFE_STATE_WAIT_OVER], Handling.ESCALATE),
]


@pytest.mark.parametrize(("row", "failures", "handling"), ROWS, ids=[row[0] for row in ROWS])
def test_every_failure_row(row: str, failures: list[Failure], handling: Handling) -> None:
    assert {HANDLING[failure] for failure in failures} == {handling}, row


def test_the_rows_cover_every_failure_and_every_reason_of_the_bus() -> None:
    covered = [failure for _, failures, _ in ROWS for failure in failures]
    assert sorted(covered) == sorted(Failure) == sorted(HANDLING)
    for reason in Reason:
        assert failure_of(reason).value == reason.value
    assert failure_of(None) is Failure.FIRMWARE_ERROR


def test_the_waits_of_domain_7() -> None:
    """30/60/120/240/480 s; offline x 4 with the same cap of 15 min."""
    waits = [delay_s(POLICY, retry, offline=False) for retry in range(6)]
    assert waits == [30, 60, 120, 240, 480, 900]
    longer = [delay_s(POLICY, retry, offline=True) for retry in range(5)]
    assert longer == [120, 240, 480, 900, 900]


@given(retry=st.integers(0, 10_000), offline=st.booleans())
def test_a_wait_never_exceeds_the_cap_and_never_shrinks(retry: int, offline: bool) -> None:
    wait = delay_s(POLICY, retry, offline=offline)
    assert POLICY.base_delay_s <= wait <= POLICY.max_delay_s
    assert delay_s(POLICY, retry + 1, offline=offline) >= wait
