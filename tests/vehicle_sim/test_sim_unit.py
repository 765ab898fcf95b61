"""The control unit: every answer and every reason of BUS, and what it remembers."""

from datetime import timedelta

import msgspec
import pytest

from core.contracts import jws
from core.contracts.bus import (
    CommandKind,
    EventType,
    Operational,
    ParameterSetting,
    Reason,
    Result,
    SafeState,
    ServiceState,
    digest_of,
)
from tests.vehicle_sim.bench import (
    CLIMATE,
    OFF_ROAD,
    PARKED,
    RUNNING,
    SNOW,
    configs,
    events,
    only_answer,
    unit,
    values_of,
)
from tests.vehicle_sim.harness import (
    BOOST,
    BOOST_OFF,
    KEY,
    KEYS,
    NOW,
    command,
    settings_of,
    signed,
)
from vehicle_sim.faults import Fault, FaultKind
from vehicle_sim.firmware import Conflict, Firmware, firmware_of, seed_catalogue
from vehicle_sim.state import Saved, UnitState
from vehicle_sim.unit import ANSWERS_KEPT

# --- done -----------------------------------------------------------------------------------


def test_configure_is_applied_and_proved():
    car = unit()
    reaction = car.handle(signed(command(41, BOOST)), KEYS, NOW, PARKED)
    answer, config = only_answer(reaction), configs(reaction)[0]
    assert (answer.result, answer.seq, answer.reason) == (Result.APPLIED, 41, None)
    assert reaction.out.index(answer) < reaction.out.index(config)
    assert values_of(config)["ENGINE_CONTROL.power_mode"] == "HIGH"
    assert (config.seq, config.model, config.firmware) == (41, "AURORA", "2.4.1")
    assert config.digest == digest_of(config.values)
    assert len(config.values) == 6
    assert reaction.status
    assert events(reaction) == [(EventType.FEATURE_ON, "PERF_BOOST_50")]
    assert [(s.service, s.state) for s in car.active_services()] == [
        ("PERF_BOOST_50", ServiceState.ACTIVE)
    ]


def test_query_reports_then_shows_config_and_status():
    reaction = unit().handle(signed(command(1, kind=CommandKind.QUERY)), KEYS, NOW, RUNNING)
    assert only_answer(reaction).result is Result.REPORT
    assert len(configs(reaction)) == 1
    assert reaction.status


def test_test_proves_the_path_and_changes_nothing():
    car = unit()
    before = dict(car.state.values)
    reaction = car.handle(signed(command(1, BOOST, kind=CommandKind.TEST)), KEYS, NOW, PARKED)
    assert only_answer(reaction).result is Result.REPORT
    assert car.state.values == before
    assert configs(reaction) == []


def test_display_shows_the_text_and_asks_for_a_link_only_where_there_is_one():
    car = unit()
    display = command(1, kind=CommandKind.DISPLAY, text="Confirm the app link: code 123456")
    reaction = car.handle(signed(display), KEYS, NOW, RUNNING)
    assert only_answer(reaction).result is Result.APPLIED
    assert reaction.link_code == "123456"
    assert car.state.screen[-1].text == "Confirm the app link: code 123456"
    other = command(2, kind=CommandKind.DISPLAY, text="Error code 123456")
    assert car.handle(signed(other), KEYS, NOW, RUNNING).link_code is None


# --- refused --------------------------------------------------------------------------------


def test_foreign_signature_is_refused_with_what_can_be_read():
    wanted = command(7, BOOST)
    forged = jws.sign(wanted, jws.new_signing_key())
    car = unit()
    answer = only_answer(car.handle(forged, KEYS, NOW, PARKED))
    assert (answer.result, answer.reason) == (Result.REJECTED, Reason.BAD_SIGNATURE)
    assert (answer.command_id, answer.seq) == (wanted.command_id, 7)
    assert car.state.highest_seq == 0  # a forger must not use numbers up
    assert car.state.answers == {}


def test_changed_payload_is_a_bad_signature():
    head, _, tail = signed(command(7, BOOST)).split(b".")
    _, body, _ = signed(command(8, BOOST)).split(b".")
    answer = only_answer(unit().handle(b".".join([head, body, tail]), KEYS, NOW, PARKED))
    assert (answer.reason, answer.seq) == (Reason.BAD_SIGNATURE, 8)


@pytest.mark.parametrize("payload", [b"", b"no jws", b"a.b.c", b"\xff\xfe", b"e30.e30.e30"])
def test_what_is_no_command_is_answered_without_ids(payload: bytes):
    answer = only_answer(unit().handle(payload, KEYS, NOW, PARKED))
    assert answer.result is Result.REJECTED
    assert answer.reason in (Reason.BAD_SIGNATURE, Reason.MALFORMED)
    assert (answer.command_id, answer.seq) == (None, None)


def test_signed_but_incomplete_is_malformed():
    class Half(msgspec.Struct):
        seq: int

    payload = jws.sign(Half(9), KEY)  # pyright: ignore[reportArgumentType] - not a command on purpose
    answer = only_answer(unit().handle(payload, KEYS, NOW, PARKED))
    assert (answer.reason, answer.seq, answer.command_id) == (Reason.MALFORMED, 9, None)


@pytest.mark.parametrize(
    "wanted",
    [command(1), command(1, kind=CommandKind.DISPLAY)],
    ids=["no values", "no text"],
)
def test_content_without_sense_is_malformed(wanted):
    answer = only_answer(unit().handle(signed(wanted), KEYS, NOW, PARKED))
    assert (answer.result, answer.reason) == (Result.REJECTED, Reason.MALFORMED)


def test_wrong_vehicle_leaves_no_trace():
    car = unit()
    other = command(50, BOOST, vin="VF1AURRA000000018")
    answer = only_answer(car.handle(signed(other), KEYS, NOW, PARKED))
    assert (answer.result, answer.reason) == (Result.REJECTED, Reason.WRONG_VEHICLE)
    assert car.state.highest_seq == 0


def test_expired_by_the_vehicles_own_clock():
    car = unit()
    wanted = command(3, BOOST, expires_in_s=10)
    late = NOW + timedelta(seconds=10)
    answer = only_answer(car.handle(signed(wanted), KEYS, late, PARKED))
    assert (answer.result, answer.reason) == (Result.REJECTED, Reason.EXPIRED)
    assert car.state.highest_seq == 3  # verified all the same


def test_a_fast_clock_expires_what_is_fresh():
    car = unit(faults=[Fault(kind=FaultKind.CLOCK_SKEW, seconds=3600)])
    answer = only_answer(car.handle(signed(command(1, BOOST)), KEYS, NOW, PARKED))
    assert answer.reason is Reason.EXPIRED
    assert answer.at == NOW + timedelta(hours=1)


def test_known_command_repeats_its_last_answer_and_is_not_executed_twice():
    car = unit()
    first = command(5, BOOST)
    answer = only_answer(car.handle(signed(first), KEYS, NOW, PARKED))
    car.handle(signed(command(6, BOOST_OFF)), KEYS, NOW, PARKED)
    later = NOW + timedelta(hours=1)  # expired by now: still the same answer
    again = car.handle(signed(first), KEYS, later, PARKED)
    assert only_answer(again) == answer
    assert values_of(configs(again)[0])["ENGINE_CONTROL.power_mode"] == "NORMAL"
    assert events(again) == []


@pytest.mark.parametrize("seq", [4, 5])
def test_seq_not_above_the_highest_is_replayed(seq: int):
    car = unit()
    car.handle(signed(command(5, kind=CommandKind.QUERY)), KEYS, NOW, PARKED)
    answer = only_answer(car.handle(signed(command(seq, BOOST)), KEYS, NOW, PARKED))
    assert (answer.result, answer.reason) == (Result.REJECTED, Reason.REPLAYED)
    assert car.state.values["ENGINE_CONTROL.power_mode"] == "NORMAL"


@pytest.mark.parametrize(
    ("model", "wanted", "reason"),
    [
        ("AURORA", ("BRAKES.abs_enabled", False), Reason.UNKNOWN_PARAMETER),
        ("BOREAL", ("ADAS.autonomous_highway_enabled", True), Reason.UNKNOWN_PARAMETER),
        ("CIERZO", CLIMATE, Reason.INCOMPATIBLE),
        ("AURORA", ("ENGINE_CONTROL.power_mode", "LUDICROUS"), Reason.INVALID_VALUE),
        ("AURORA", ("ADAS.autonomous_highway_enabled", 1), Reason.INVALID_VALUE),
        ("AURORA", ("TRACTION_CONTROL.snow_mode_available", True), Reason.INVALID_VALUE),
    ],
)
def test_what_the_firmware_does_not_take(model, wanted, reason):
    car = unit(model)
    before = dict(car.state.values)
    answer = only_answer(car.handle(signed(command(1, wanted)), KEYS, NOW, PARKED))
    assert (answer.result, answer.reason) == (Result.REJECTED, reason)
    assert car.state.values == before


def test_one_bad_value_spoils_the_whole_command():
    car = unit()
    wanted = command(1, BOOST, ("HVAC.climate_zones", 99))
    assert only_answer(car.handle(signed(wanted), KEYS, NOW, PARKED)).reason is Reason.INVALID_VALUE
    assert car.state.values["ENGINE_CONTROL.power_mode"] == "NORMAL"


def test_bad_revert_values_are_refused_when_the_command_comes():
    until = NOW + timedelta(days=1)
    wanted = command(1, BOOST, valid_until=until, revert=[("ENGINE_CONTROL.power_mode", "OFF")])
    answer = only_answer(unit().handle(signed(wanted), KEYS, NOW, PARKED))
    assert answer.reason is Reason.INVALID_VALUE


def test_numbers_are_held_as_the_firmware_writes_them():
    car = unit()
    reaction = car.handle(signed(command(1, ("HVAC.climate_zones", 4.0))), KEYS, NOW, PARKED)
    assert only_answer(reaction).result is Result.APPLIED
    assert repr(values_of(configs(reaction)[0])["HVAC.climate_zones"]) == "4"


def test_conflicting_settings_are_refused():
    seed = firmware_of(seed_catalogue(), "AURORA")
    conflict = Conflict(settings_of(BOOST, OFF_ROAD))
    car = unit(firmware=Firmware("AURORA", "2.4.1", seed.hardware, seed.options, (conflict,)))
    car.handle(signed(command(1, BOOST)), KEYS, NOW, PARKED)
    answer = only_answer(car.handle(signed(command(2, OFF_ROAD, SNOW)), KEYS, NOW, PARKED))
    assert (answer.result, answer.reason) == (Result.REJECTED, Reason.CONFLICT)


# --- safe states ----------------------------------------------------------------------------


def test_deferred_while_driving_dropped_and_applied_by_a_new_command():
    car = unit()
    first = command(1, BOOST, safe_state=SafeState.PARKED)
    answer = only_answer(car.handle(signed(first), KEYS, NOW, RUNNING))
    assert (answer.result, answer.reason) == (Result.DEFERRED, Reason.UNSAFE_STATE)
    assert car.state.values["ENGINE_CONTROL.power_mode"] == "NORMAL"
    # Parked: nothing happens by itself, and the old command only repeats its answer.
    assert car.tick(NOW, PARKED).out == []
    assert only_answer(car.handle(signed(first), KEYS, NOW, PARKED)) == answer
    second = command(2, BOOST, safe_state=SafeState.PARKED)
    assert only_answer(car.handle(signed(second), KEYS, NOW, PARKED)).result is Result.APPLIED


def test_the_firmware_defers_what_the_platform_would_do_while_driving():
    answer = only_answer(unit().handle(signed(command(1, BOOST)), KEYS, NOW, RUNNING))
    assert answer.result is Result.DEFERRED


def test_harmless_options_switch_while_driving():
    answer = only_answer(unit().handle(signed(command(1, CLIMATE)), KEYS, NOW, RUNNING))
    assert answer.result is Result.APPLIED


@pytest.mark.parametrize("state", [Operational.CHARGING, Operational.OFF])
def test_standing_is_safe(state: Operational):
    wanted = command(1, BOOST, safe_state=SafeState.PARKED)
    assert only_answer(unit().handle(signed(wanted), KEYS, NOW, state)).result is Result.APPLIED


# --- valid_until ----------------------------------------------------------------------------


def test_switches_off_by_itself_in_time_and_says_so():
    car = unit()
    until = NOW + timedelta(hours=1)
    car.handle(signed(command(1, BOOST, valid_until=until, revert=[BOOST_OFF])), KEYS, NOW, PARKED)
    assert car.tick(until - timedelta(seconds=1), PARKED).out == []
    assert car.next_timer == until
    reaction = car.tick(until, PARKED)
    assert values_of(configs(reaction)[0])["ENGINE_CONTROL.power_mode"] == "NORMAL"
    assert events(reaction) == [(EventType.FEATURE_OFF, "PERF_BOOST_50")]
    assert configs(reaction)[0].seq == 1
    assert car.tick(until, PARKED).out == []


def test_a_moving_car_keeps_its_power_until_it_stands():
    car = unit()
    until = NOW + timedelta(hours=1)
    car.handle(signed(command(1, BOOST, valid_until=until, revert=[BOOST_OFF])), KEYS, NOW, PARKED)
    assert car.tick(until + timedelta(minutes=5), RUNNING).out == []
    assert configs(car.tick(until + timedelta(minutes=6), PARKED))


def test_a_newer_command_decides_over_the_older_timer():
    car = unit()
    until = NOW + timedelta(hours=1)
    car.handle(signed(command(1, BOOST, valid_until=until, revert=[BOOST_OFF])), KEYS, NOW, PARKED)
    car.handle(signed(command(2, BOOST)), KEYS, NOW, PARKED)  # bought for good
    assert car.next_timer is None
    assert car.tick(until, PARKED).out == []
    assert car.state.values["ENGINE_CONTROL.power_mode"] == "HIGH"


# --- memory ---------------------------------------------------------------------------------


def test_everything_survives_being_written_down():
    car = unit()
    until = NOW + timedelta(hours=1)
    first = command(1, BOOST, valid_until=until, revert=[BOOST_OFF])
    answer = only_answer(car.handle(signed(first), KEYS, NOW, PARKED))
    text = msgspec.json.encode(Saved(car.state))
    again = unit(state=msgspec.json.decode(text, type=Saved).unit)
    assert only_answer(again.handle(signed(first), KEYS, NOW, PARKED)) == answer
    late = only_answer(again.handle(signed(command(1, BOOST_OFF)), KEYS, NOW, PARKED))
    assert late.reason is Reason.REPLAYED
    assert configs(again.tick(until, PARKED))
    assert again.boot(NOW).out
    assert again.state.boot == 1


def test_answers_are_bounded_and_what_is_forgotten_stays_replayed():
    car = unit()
    oldest = command(1, kind=CommandKind.TEST)
    car.handle(signed(oldest), KEYS, NOW, PARKED)
    for seq in range(2, ANSWERS_KEPT + 2):
        car.handle(signed(command(seq, kind=CommandKind.TEST)), KEYS, NOW, PARKED)
    assert len(car.state.answers) == ANSWERS_KEPT
    answer = only_answer(car.handle(signed(oldest), KEYS, NOW, PARKED))
    assert answer.reason is Reason.REPLAYED


def test_firmware_of_another_version_keeps_what_both_know():
    state = UnitState(values={"ENGINE_CONTROL.power_mode": "HIGH", "GONE.parameter": 3})
    config = unit(state=state).config(NOW)
    assert values_of(config)["ENGINE_CONTROL.power_mode"] == "HIGH"
    assert ParameterSetting("GONE", "parameter", 3) not in config.values
