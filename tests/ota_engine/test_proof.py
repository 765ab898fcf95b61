"""What proves a service: S6 and docs/architecture.md."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contracts.bus import ParameterSetting, ParameterValue
from core.contracts.values import same_value
from ota_engine.proof import Report, Verdict, judge, without

ON = [ParameterSetting("M", "a", True), ParameterSetting("M", "b", 4)]


def report(*values: tuple[str, ParameterValue], seq: int = 5, live: bool = True) -> Report:
    return Report([ParameterSetting("M", name, value) for name, value in values], seq, live)


@pytest.mark.parametrize(
    ("given_report", "from_seq", "queried", "verdict"),
    [
        (report(("a", True), ("b", 4), ("c", 1)), 5, False, Verdict.PROVEN),
        (report(("a", True), ("b", 4.0)), 5, False, Verdict.PROVEN),
        (report(("a", True), ("b", 4), live=False), 5, False, Verdict.PROVEN),
        (report(("a", 1), ("b", 4)), 5, False, Verdict.PARTIAL),
        (report(("a", True)), 5, False, Verdict.PARTIAL),
        (report(("a", False), ("b", 1)), 5, False, Verdict.ABSENT),
        (report(), 5, False, Verdict.ABSENT),
        (report(("a", True), ("b", 4)), 6, False, Verdict.STALE),
        (report(("a", True), ("b", 4)), None, False, Verdict.STALE),
        (report(("a", True), ("b", 4)), 6, True, Verdict.PROVEN),
        (report(("a", True), ("b", 4), live=False), 6, True, Verdict.STALE),
    ],
)
def test_verdicts(
    given_report: Report, from_seq: int | None, queried: bool, verdict: Verdict
) -> None:
    assert judge(ON, given_report, from_seq=from_seq, queried=queried) is verdict


def test_nothing_wanted_is_never_proven() -> None:
    assert judge([], report(("a", True)), from_seq=1, queried=True) is Verdict.ABSENT


@given(st.lists(st.sampled_from(["a", "b", "c"]), unique=True), st.integers(0, 10))
def test_only_all_wanted_values_prove(names: list[str], seq: int) -> None:
    shown = report(*((name, {"a": True, "b": 4, "c": 0}[name]) for name in names), seq=seq)
    proven = judge(ON, shown, from_seq=5, queried=False) is Verdict.PROVEN
    assert proven == ({"a", "b"} <= set(names) and seq >= 5)


def test_true_is_not_one() -> None:
    assert not same_value(True, 1)
    assert same_value(4, 4.0)
    assert not same_value("4", 4)


def test_without_leaves_what_others_need() -> None:
    assert without(ON, [ParameterSetting("M", "a", False)]) == [ON[1]]
