"""What a receipt may say: never more than is stored."""

from hypothesis import given
from hypothesis import strategies as st

from core.contracts.bus import Stored, encode
from core.contracts.topics import MAX_PAYLOAD_BYTES
from core.settings import load
from telemetry.receipts import BOOTS_WAITING_MAX, ReceiptQueue, receipt_of
from telemetry.settings import TelemetrySettings


def ranges_of(numbers: set[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


@given(st.sets(st.integers(0, 60)), st.integers(1, 20))
def test_a_receipt_covers_only_what_is_stored(received: set[int], missing_max: int) -> None:
    receipt = receipt_of(3, ranges_of(received), missing_max)
    if receipt is None:
        assert not received or min(received) > missing_max
        return
    assert receipt.boot == 3
    assert len(receipt.missing) <= missing_max
    covered = set(range(receipt.n + 1)) - set(receipt.missing)
    assert covered == {number for number in received if number <= receipt.n}
    # Nothing more could be said without a longer list of missing ones.
    for beyond in (number for number in received if number > receipt.n):
        assert len(set(range(beyond)) - received) > missing_max


def test_without_gaps_it_covers_everything() -> None:
    assert receipt_of(1, [(0, 5121)], 10) == Stored(boot=1, n=5120)


def test_a_wide_gap_costs_no_time() -> None:
    assert receipt_of(1, [(0, 3), (2**50, 2**50 + 1)], 10) == Stored(boot=1, n=2)


def test_a_vehicle_gets_one_receipt_in_its_time() -> None:
    queue = ReceiptQueue(every_s=5.0)
    queue.add("A", Stored(boot=1, n=1))
    assert queue.take_due(100.0) == [("A", Stored(boot=1, n=1))]
    queue.add("A", Stored(boot=1, n=2))
    queue.add("A", Stored(boot=1, n=3))
    queue.add("B", Stored(boot=9, n=0))
    assert queue.take_due(104.9) == [("B", Stored(boot=9, n=0))]
    assert queue.take_due(105.0) == [("A", Stored(boot=1, n=3))]
    assert queue.take_due(120.0) == []


def test_two_boots_take_turns_and_stopping_waits_for_no_turn() -> None:
    queue = ReceiptQueue(every_s=5.0)
    queue.add("A", Stored(boot=1, n=7))
    queue.add("A", Stored(boot=2, n=0))
    assert queue.take_due(0.0) == [("A", Stored(boot=1, n=7))]
    assert queue.take_due(1.0) == []
    assert queue.take_due(1.0, everything=True) == [("A", Stored(boot=2, n=0))]
    assert len(queue) == 0


def test_an_unsent_receipt_does_not_replace_a_newer_one() -> None:
    queue = ReceiptQueue(every_s=5.0)
    queue.add("A", Stored(boot=1, n=7))
    (_, unsent), *_ = queue.take_due(0.0)
    queue.add("A", Stored(boot=1, n=8))
    queue.add_again("A", unsent)
    assert queue.take_due(5.0) == [("A", Stored(boot=1, n=8))]


def test_a_unit_that_makes_up_boots_does_not_fill_the_memory() -> None:
    queue = ReceiptQueue(5.0)
    for boot in range(BOOTS_WAITING_MAX * 3):
        queue.add("A", Stored(boot=boot, n=0))
    taken = queue.take_due(0.0, everything=True)
    assert [stored.boot for _, stored in taken] == list(
        range(BOOTS_WAITING_MAX * 2, BOOTS_WAITING_MAX * 3)
    )


def test_a_vehicle_whose_buffer_overflowed_gets_a_receipt() -> None:
    """A week away drops more batches than fit into its buffer (2,880 by default)."""
    dropped = 5_000
    limit = load(TelemetrySettings).receipt_missing_max
    stored = receipt_of(1, [(dropped, dropped + 10)], limit)
    assert stored == Stored(boot=1, n=dropped + 9, missing=list(range(dropped)))
    assert stored is not None
    assert len(encode(stored)) < MAX_PAYLOAD_BYTES
