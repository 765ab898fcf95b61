"""What a message does to the state of its vehicle."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.contracts.bus import (
    Operational,
    ParameterSetting,
    Presence,
    PresenceMessage,
    ReportedConfig,
    VehicleStatus,
    digest_of,
)
from gateway.state import (
    VehicleState,
    follow_config,
    follow_presence,
    follow_status,
    is_flap,
    seen,
)

START = datetime(2026, 11, 24, 8, tzinfo=UTC)
FRESH = VehicleState(vin="VF1AURXRA00000017", model="AURORA", firmware="2.4.1")
LIMIT = 20.0


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def presence(state: str, session: str, seconds: float, boot: int = 1) -> PresenceMessage:
    return PresenceMessage(state=Presence(state), at=at(seconds), session=session, boot=boot)


def follow(state: VehicleState, *messages: PresenceMessage) -> VehicleState:
    for number, message in enumerate(messages):
        state = follow_presence(state, message, at(1000 + number), LIMIT)
    return state


def test_a_session_begins_and_ends() -> None:
    online = follow(FRESH, presence("ONLINE", "one", 0))
    assert (online.presence, online.presence_since) == ("ONLINE", at(1000))
    assert follow(online, presence("OFFLINE", "one", 0)).presence == "OFFLINE"


def test_a_late_will_of_an_old_session_never_overrides_a_newer_online() -> None:
    state = follow(FRESH, presence("ONLINE", "one", 0), presence("ONLINE", "two", 10))
    assert follow(state, presence("OFFLINE", "one", 0)) == state


def test_a_new_boot_counts_though_its_clock_went_back() -> None:
    state = follow(FRESH, presence("ONLINE", "one", 5000, boot=1))
    state = follow(state, presence("OFFLINE", "two", 0, boot=2))
    assert (state.presence, state.session) == ("OFFLINE", "two")


@given(st.permutations(["ONLINE 1", "OFFLINE 1", "ONLINE 2", "OFFLINE 2", "ONLINE 3"]))
def test_whatever_the_order_the_last_session_wins(order: list[str]) -> None:
    messages = [
        presence(state, number, 10 * int(number))
        for state, number in (text.split() for text in order)
    ]
    state = follow(FRESH, *messages)
    assert (state.presence, state.session) == ("ONLINE", "3")


def test_a_message_ends_a_silence_but_not_a_goodbye() -> None:
    online = follow(FRESH, presence("ONLINE", "one", 0))
    silent = replace(online, presence="OFFLINE")
    assert seen(silent, at(2000), LIMIT).presence == "ONLINE"
    gone = follow(online, presence("OFFLINE", "one", 0))
    assert seen(gone, at(2000), LIMIT).presence == "OFFLINE"
    assert seen(FRESH, at(2000), LIMIT).presence == "OFFLINE"


def test_a_will_is_no_sign_of_life() -> None:
    online = follow(FRESH, presence("ONLINE", "one", 0))
    assert follow(online, presence("OFFLINE", "one", 0)).last_seen_at == online.last_seen_at


def test_a_weak_signal_is_limited_and_a_strong_one_is_not() -> None:
    def status(signal: float, seconds: float) -> VehicleStatus:
        return VehicleStatus(
            at=at(seconds), operational=Operational.PARKED, firmware="2.4.1", signal_pct=signal
        )

    state = follow(FRESH, presence("ONLINE", "one", 0))
    weak = follow_status(state, status(19.9, 1), at(1), LIMIT)
    assert weak.presence == "LIMITED"
    assert follow_status(weak, status(20, 0), at(2), LIMIT) == weak  # an older one, late
    assert follow_status(weak, status(20, 2), at(2), LIMIT).presence == "ONLINE"
    assert follow(weak, presence("OFFLINE", "one", 0)).presence == "OFFLINE"


def test_a_quick_new_session_is_a_flap() -> None:
    first = follow_presence(FRESH, presence("ONLINE", "one", 0), at(0), LIMIT)
    assert not is_flap(FRESH, first, at(0), 60)
    gone = follow_presence(first, presence("OFFLINE", "one", 0), at(100), LIMIT)
    assert not is_flap(first, gone, at(100), 60)
    back = follow_presence(gone, presence("ONLINE", "two", 130), at(130), LIMIT)
    assert is_flap(gone, back, at(130), 60)
    assert not is_flap(gone, back, at(161), 60)


def config(seq: int, seconds: float, value: int, digest: str | None = None) -> ReportedConfig:
    values = [ParameterSetting("HVAC", "climate_zones", value)]
    return ReportedConfig(
        at=at(seconds),
        seq=seq,
        firmware="2.5.0",
        model="AURORA",
        values=values,
        digest=digest if digest is not None else digest_of(values),
    )


def test_the_latest_configuration_is_kept() -> None:
    state = follow_config(FRESH, config(3, 10, 4))
    assert (state.reported_seq, state.firmware) == (3, "2.5.0")
    assert follow_config(state, config(2, 5, 1)) == state
    assert follow_config(state, config(4, 5, 1)).reported_seq == 4  # its clock went back
    assert follow_config(state, config(0, 20, 1)).reported_seq == 0  # a replaced control unit


def test_the_digest_kept_is_that_of_the_values_kept() -> None:
    state = follow_config(FRESH, config(1, 0, 4, digest="a lie"))
    assert state.reported_digest == config(1, 0, 4).digest


def test_a_report_counts_after_the_clock_was_set_back() -> None:
    """A new session says that the hour is earlier now; what it reports is no old news."""
    state = follow(FRESH, presence("ONLINE", "one", 5000))
    state = follow_config(state, reported(5001, "HIGH"))
    assert follow_config(state, reported(4001, "NORMAL")) == state, "slow, or twice"
    for back in (
        presence("ONLINE", "two", 4000),  # beside the one that still seems to live
        presence("ONLINE", "two", 4000, boot=2),
    ):
        later = follow_config(follow(state, back), reported(4001, "NORMAL"))
        assert later.reported_at == at(4001)
        assert later.new_values is not None
        assert later.new_values[0]["value"] == "NORMAL"
        # And a status as well.
        status = replace(state, status_at=at(5002))
        parked = VehicleStatus(at(4001), Operational.PARKED, "2.4.1", 80)
        assert follow_status(follow(status, back), parked, at(9), LIMIT).operational == "PARKED"


def test_a_session_with_an_endless_name_does_not_fill_the_row() -> None:
    state = FRESH
    for number in range(40):
        state = follow(state, presence("ONLINE", f"{number}" * 50_000, number))
    name = "39" * 50_000
    assert max(map(len, [state.session or "", *state.past_sessions])) <= 64
    assert follow(state, presence("OFFLINE", name, 39)).presence == "OFFLINE"


def reported(seconds: float, power: str) -> ReportedConfig:
    values = [ParameterSetting("ENGINE_CONTROL", "power_mode", power)]
    return ReportedConfig(at(seconds), 3, "2.4.1", "AURORA", values, digest_of(values))
