"""Faults of the control unit, one by one."""

import pytest

from core.contracts.bus import (
    Answer,
    CommandKind,
    Reason,
    Result,
    ServiceState,
)
from tests.vehicle_sim.bench import OFF_ROAD, PARKED, SNOW, configs, only_answer, unit, values_of
from tests.vehicle_sim.harness import (
    BOOST,
    KEYS,
    NOW,
    command,
    signed,
)
from vehicle_sim.faults import Fault, FaultKind


@pytest.mark.parametrize("reason", list(Reason))
def test_refuses_with_every_reason_so_often(reason: Reason):
    car = unit(faults=[Fault(kind=FaultKind.REFUSE, reason=reason, times=1)])
    answer = only_answer(car.handle(signed(command(1, BOOST)), KEYS, NOW, PARKED))
    expected = Result.DEFERRED if reason is Reason.UNSAFE_STATE else Result.REJECTED
    assert (answer.result, answer.reason) == (expected, reason)
    assert only_answer(car.handle(signed(command(2, BOOST)), KEYS, NOW, PARKED)).result is (
        Result.APPLIED
    )


def test_a_fault_on_configure_leaves_queries_alone():
    car = unit(faults=[Fault(kind=FaultKind.IGNORE)])
    query = command(1, kind=CommandKind.QUERY)
    assert only_answer(car.handle(signed(query), KEYS, NOW, PARKED)).result is Result.REPORT
    reaction = car.handle(signed(command(2, BOOST)), KEYS, NOW, PARKED)
    assert (reaction.out, reaction.acknowledged) == ([], True)
    assert car.state.highest_seq == 1


def test_false_applied_changes_and_proves_nothing():
    car = unit(faults=[Fault(kind=FaultKind.FALSE_APPLIED)])
    reaction = car.handle(signed(command(1, BOOST)), KEYS, NOW, PARKED)
    assert only_answer(reaction).result is Result.APPLIED
    assert configs(reaction) == []
    report = car.handle(signed(command(2, kind=CommandKind.QUERY)), KEYS, NOW, PARKED)
    assert values_of(configs(report)[0])["ENGINE_CONTROL.power_mode"] == "NORMAL"


def test_silent_apply_is_found_out_by_a_query():
    car = unit(faults=[Fault(kind=FaultKind.SILENT_APPLY)])
    assert car.handle(signed(command(1, BOOST)), KEYS, NOW, PARKED).out == []
    report = car.handle(signed(command(2, kind=CommandKind.QUERY)), KEYS, NOW, PARKED)
    assert values_of(configs(report)[0])["ENGINE_CONTROL.power_mode"] == "HIGH"


def test_no_answer_still_reports():
    car = unit(faults=[Fault(kind=FaultKind.NO_ANSWER)])
    reaction = car.handle(signed(command(1, BOOST)), KEYS, NOW, PARKED)
    assert not [item for item in reaction.out if isinstance(item, Answer)]
    assert values_of(configs(reaction)[0])["ENGINE_CONTROL.power_mode"] == "HIGH"


def test_partial_apply_shows_in_report_and_services():
    car = unit(faults=[Fault(kind=FaultKind.PARTIAL)])
    reaction = car.handle(signed(command(1, OFF_ROAD, SNOW)), KEYS, NOW, PARKED)
    assert only_answer(reaction).result is Result.APPLIED
    shown = values_of(configs(reaction)[0])
    assert (shown[OFF_ROAD[0]], shown[SNOW[0]]) == (True, 0)
    assert [s.state for s in car.active_services()] == [ServiceState.ERROR]


def test_reboot_half_way_leaves_the_command_to_come_again():
    car = unit(faults=[Fault(kind=FaultKind.REBOOT, times=1)])
    wanted = command(1, OFF_ROAD, SNOW)
    reaction = car.handle(signed(wanted), KEYS, NOW, PARKED)
    assert (reaction.reboot, reaction.acknowledged, reaction.out) == (True, False, [])
    assert car.state.values[OFF_ROAD[0]] is True
    assert car.state.values[SNOW[0]] == 0
    again = car.handle(signed(wanted), KEYS, NOW, PARKED)
    assert only_answer(again).result is Result.APPLIED
    assert values_of(configs(again)[0])[SNOW[0]] == 1


def test_delay_and_offline_are_the_callers_to_do():
    car = unit(faults=[Fault(kind=FaultKind.DELAY, seconds=7)])
    assert car.handle(signed(command(1, BOOST)), KEYS, NOW, PARKED).delay_s == 7
    car = unit(faults=[Fault(kind=FaultKind.OFFLINE, seconds=3, times=1)])
    reaction = car.handle(signed(command(1, BOOST)), KEYS, NOW, PARKED)
    assert (reaction.offline_s, reaction.acknowledged) == (3, False)
    assert car.state.highest_seq == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "REFUSE"},
        {"kind": "IGNORE", "reason": "BUSY"},
        {"kind": "DELAY"},
        {"kind": "DELAY", "seconds": -1},
        {"kind": "PARTIAL", "seconds": 3},
        {"kind": "IGNORE", "times": 0},
        {"kind": "IGNORE", "probability": 1.5},
        {"kind": "IGNORE", "sometimes": True},
    ],
)
def test_faults_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=r"validation error"):
        Fault.model_validate(wrong)
