"""What reports mean for what is wanted: pure decisions, and S2 whatever comes in."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contracts.bus import ParameterSetting, ParameterValue
from core.contracts.values import same_value
from core.contracts.wanted import (
    Difference,
    InUse,
    WantedValue,
    differences,
    in_force,
    next_change,
    wanted_of,
)
from gateway.wanted.rules import (
    TOO_MANY,
    Alarm,
    Ask,
    Cause,
    Close,
    Decision,
    DriftState,
    LastCommand,
    Limits,
    Nothing,
    Open,
    OpenDrift,
    Report,
    Update,
    changed_by_others,
    decide,
    says_the_present,
)
from ota_engine.corrections import plan
from ota_engine.repository import Capability
from ota_engine.wanted_repository import PlatformService

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
DAY = timedelta(days=1)
GRACE = timedelta(minutes=5)
LIMITS = Limits(5, 3, timedelta(seconds=30))
REPORT = Report([], 41, NOW, "2.4.1", "AURORA")
FOUND = [Difference("ENGINE_CONTROL", "power_mode", "HIGH", "NORMAL")]

names = st.sampled_from(["a", "b", "c", "d"])
values: st.SearchStrategy[ParameterValue] = st.sampled_from([True, False, 0, 1, 4, 4.0, "HIGH", ""])
settings_lists = st.lists(
    st.builds(ParameterSetting, st.just("M"), names, values),
    unique_by=lambda item: item.parameter,
)
ends = st.one_of(st.none(), st.sampled_from([NOW - DAY, NOW, NOW + GRACE / 2, NOW + DAY]))
wanted_lists = st.lists(
    st.builds(WantedValue, st.just("M"), names, values, ends, st.one_of(st.none(), values)),
    unique_by=lambda item: item.parameter,
)


@given(wanted_lists, settings_lists)
def test_a_difference_is_of_a_wanted_parameter_only(
    wanted: list[WantedValue], reported: list[ParameterSetting]
) -> None:
    found = differences(wanted, reported, NOW, GRACE)
    assert {item.key for item in found} <= {item.key for item in wanted}
    # A car that does what is wanted has none, whatever else it reports.
    obedient = [ParameterSetting(w.module, w.parameter, in_force(w, NOW)) for w in wanted]
    others = [item for item in reported if (item.module, item.parameter) not in
              {w.key for w in wanted}]  # fmt: skip
    assert differences(wanted, [*obedient, *others], NOW, GRACE) == []


@given(wanted_lists, settings_lists)
def test_the_verdict_holds_until_the_next_change(
    wanted: list[WantedValue], reported: list[ParameterSetting]
) -> None:
    """What makes it safe not to look again at an equal report."""
    if differences(wanted, reported, NOW, GRACE):
        return
    until = next_change(wanted, NOW, GRACE)
    last = NOW + 3 * DAY if until is None else until - timedelta(microseconds=1)
    for moment in (NOW, NOW + (last - NOW) / 2, last):
        assert differences(wanted, reported, moment, GRACE) == []


def test_true_is_not_1_but_4_is_4_0() -> None:
    wanted = [WantedValue("M", "a", True), WantedValue("M", "b", 4)]
    reported = [ParameterSetting("M", "a", 1), ParameterSetting("M", "b", 4.0)]
    assert [item.parameter for item in differences(wanted, reported, NOW)] == ["a"]


@given(
    st.lists(st.tuples(settings_lists, st.one_of(st.none(), st.just(NOW + DAY)))),
    settings_lists,
)
def test_what_a_service_in_use_needs_is_wanted(
    services: list[tuple[list[ParameterSetting], datetime | None]], off: list[ParameterSetting]
) -> None:
    in_use = [InUse(on, [], until) for on, until in services]
    wanted = {item.key: item for item in wanted_of(off, in_use)}
    assert set(wanted) == {(item.module, item.parameter) for item in off}
    for item in off:
        needed = [
            (value, service.until)
            for service in in_use
            for value in service.on
            if value.parameter == item.parameter
        ]
        found = wanted[(item.module, item.parameter)]
        if not needed:
            assert (found.value, found.until) == (item.value, None)
        else:
            assert found.value == needed[-1][0].value
            assert (found.until is None) == any(until is None for _, until in needed)


@given(wanted_lists, settings_lists, st.sets(names), st.sets(names), st.sets(names))
def test_no_correction_sets_what_no_service_switches_or_a_delivery_holds(
    wanted: list[WantedValue],
    reported: list[ParameterSetting],
    mapped: set[str],
    known: set[str],
    in_hand: set[str],
) -> None:
    """S2: a base parameter is in no mapping; what is in none is apart, and never sent."""
    services = [_service("ONE", sorted(mapped))]
    capabilities = [Capability("M", name, []) for name in known]
    found = differences(wanted, reported, NOW)
    held = frozenset(("M", name) for name in in_hand)
    planned = plan(wanted, found, services, capabilities, held, NOW)
    seen: list[str] = []
    for correction in planned:
        parameters = {item.parameter for item in correction.values}
        seen += sorted(parameters)
        assert not parameters & in_hand
        assert parameters <= mapped if correction.service else not parameters & mapped
        assert parameters <= known or not parameters & known
        assert {item.parameter for item in correction.revert} <= parameters
    assert sorted(seen) == sorted(item.parameter for item in found if item.parameter not in in_hand)


def _service(code: str, parameters: list[str]) -> PlatformService:
    settings = [{"module": "M", "parameter": name} for name in parameters]
    return PlatformService(code, settings, "ANY", None, uuid4(), True)


@pytest.mark.parametrize(
    ("seq", "seconds", "last", "present"),
    [
        (0, 0, None, True),
        (41, 0, LastCommand(41, None, None, NOW + DAY), True),
        (40, 0, LastCommand(41, None, None, NOW + DAY), False),
        (40, 0, LastCommand(41, "ACCEPTED", NOW - DAY, NOW + DAY), False),
        (40, 0, LastCommand(41, None, None, NOW), True),
        (40, -1, LastCommand(41, None, None, NOW), False),
        # A replaced unit: its own clock against the old one's answer.
        (0, 0, LastCommand(41, "APPLIED", NOW - DAY, NOW), True),
        (0, -1, LastCommand(41, "APPLIED", NOW, NOW), False),
    ],
)
def test_only_a_report_from_after_our_last_command_counts(
    seq: int, seconds: int, last: LastCommand | None, present: bool
) -> None:
    report = Report([], seq, NOW + timedelta(seconds=seconds), "2.4.1", "AURORA")
    assert says_the_present(report, last, NOW) is present


def known(state: DriftState, **changes: object) -> OpenDrift:
    base: dict[str, object] = {
        "state": state.value,
        "cause": "NOT_FOLLOWED",
        "wanted_version": 3,
        "difference": FOUND,
        "firmware": "2.4.1",
        "rounds": 1,
        "reason": None,
        "delivering": True,
    }
    return OpenDrift(**{**base, **changes})  # pyright: ignore[reportArgumentType] - as a row


def judged(
    drift: OpenDrift | None,
    found: list[Difference] = FOUND,
    *,
    held: frozenset[tuple[str, str]] = frozenset(),
    today: int = 0,
    model: str = "AURORA",
    version: int = 3,
) -> Decision:
    return decide(
        drift, REPORT, model, version, found, held, Cause.NOT_FOLLOWED, today, LIMITS, NOW
    )


def test_a_drift_opens_once_and_closes() -> None:
    assert judged(None) == Open(Cause.NOT_FOLLOWED, DriftState.CORRECTING)
    assert judged(None, []) == Nothing()
    for state in DriftState:
        assert judged(known(state), []) == Close()
    assert judged(known(DriftState.CORRECTING)) == Nothing()


def test_what_is_in_hand_neither_opens_nor_closes() -> None:
    held = frozenset({FOUND[0].key})
    assert judged(None, held=held) == Nothing()
    assert judged(known(DriftState.CORRECTING, delivering=False), held=held) == Nothing()


def test_a_correction_that_is_nowhere_is_asked_for_again() -> None:
    assert judged(known(DriftState.CORRECTING, delivering=False)) == Ask(again=False)
    assert judged(known(DriftState.CORRECTING), version=4) == Ask(again=False)


def test_a_failed_one_is_tried_again_only_where_that_can_help() -> None:
    failed = DriftState.FAILED
    assert judged(known(failed, reason="INCOMPATIBLE")) == Nothing()
    assert judged(known(failed, reason="INCOMPATIBLE", firmware="2.3")) == Ask(again=True)
    assert judged(known(failed, reason="OFFLINE")) == Ask(again=True)
    assert judged(known(failed, reason="OFFLINE", rounds=3)) == Nothing()
    assert judged(known(failed, reason="OFFLINE", rounds=3, failed_at=NOW - DAY)) == Ask(again=True)
    assert judged(known(failed, reason="BUSY", failed_at=NOW - DAY)) == Nothing()
    assert judged(known(failed, reason="BUSY", rounds=3), version=4) == Ask(again=True)


def test_a_vehicle_that_refuses_now_this_now_that_is_not_fought_for_ever() -> None:
    """Each round may cost six commands, and a customer shares the vehicle's quota with them."""
    other = [Difference("HVAC", "climate_zones", 1, 4)]
    failed = known(DriftState.FAILED, reason="INVALID_VALUE", rounds=2, failed_at=NOW)
    assert judged(failed, other) == Ask(again=True)
    failed = known(DriftState.FAILED, reason="INVALID_VALUE", rounds=3, failed_at=NOW)
    assert judged(failed, other) == Nothing()
    assert judged(replace(failed, failed_at=NOW - DAY), other) == Ask(again=True)


def test_the_engine_is_not_asked_at_every_report() -> None:
    other = [Difference("HVAC", "climate_zones", 1, 4)]
    lately = known(DriftState.CORRECTING, delivering=False, asked_at=NOW - timedelta(seconds=29))
    assert judged(lately) == Nothing()
    assert judged(lately, other) == Update()
    assert judged(lately, version=4) == Update()
    before = replace(lately, asked_at=NOW - timedelta(seconds=30))
    assert judged(before) == Ask(again=False)
    assert judged(replace(before, delivering=True)) == Nothing()


@given(settings_lists, settings_lists, st.sets(names))
def test_what_others_changed_is_neither_managed_nor_new(
    before: list[ParameterSetting], after: list[ParameterSetting], managed: set[str]
) -> None:
    changes = changed_by_others(before, after, frozenset(("M", name) for name in managed))
    was = {item.parameter: item.value for item in before}
    now = {item.parameter: item.value for item in after}
    assert {change.parameter for change in changes} == {
        name for name in was.keys() & now.keys() - managed if not same_value(was[name], now[name])
    }
    assert all((c.before, c.reported) == (was[c.parameter], now[c.parameter]) for c in changes)


def test_another_model_is_for_people() -> None:
    assert judged(None, model="CIERZO") == Open(
        Cause.MODEL_MISMATCH, DriftState.ALARM, REPORT.model
    )
    alarm = known(DriftState.ALARM, cause="MODEL_MISMATCH")
    assert judged(alarm, model="CIERZO") == Nothing()
    assert judged(alarm) == Ask(again=True)
    # A drift that is being corrected becomes one.
    became = judged(known(DriftState.CORRECTING), [], model="CIERZO")
    assert became == Alarm(Cause.MODEL_MISMATCH, REPORT.model)


def test_too_many_are_an_alarm_for_a_day() -> None:
    assert judged(None, today=5) == Open(Cause.NOT_FOLLOWED, DriftState.ALARM, TOO_MANY)
    fight = known(DriftState.ALARM, reason=TOO_MANY)
    assert judged(fight, today=5) == Nothing()
    assert judged(fight, today=4) == Ask(again=True)
