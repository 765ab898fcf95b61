"""Presence against a model: whatever arrives and however, the vehicle's last session decides."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from core.contracts.bus import Presence, PresenceMessage
from gateway.state import VehicleState, follow_presence

START = datetime(2026, 11, 24, 8, tzinfo=UTC)
FRESH = VehicleState(vin="VF1AURXRA00000017", model="AURORA", firmware="2.4.1")


@dataclass(frozen=True)
class Session:
    """A connection as it was: when by the vehicle's clock, in which boot, and how it ended."""

    number: int
    at: int
    boot: int
    end: str | None  # WILL, GOODBYE, or none yet

    def online(self) -> PresenceMessage:
        return self._message(Presence.ONLINE, self.at)

    def offline(self) -> PresenceMessage:
        # A will was written before its connection's ONLINE.
        return self._message(Presence.OFFLINE, self.at - 1 if self.end == "WILL" else self.at + 5)

    def _message(self, state: Presence, at: int) -> PresenceMessage:
        return PresenceMessage(state, START + timedelta(seconds=at), str(self.number), self.boot)

    def messages(self) -> list[PresenceMessage]:
        return [self.online(), self.offline()] if self.end else [self.online()]


@st.composite
def lives(draw: st.DrawFn, *, clock_goes_back: bool) -> list[Session]:
    """Sessions one after the other; all but the last one are over."""
    count = draw(st.integers(1, 8))
    at, boot, sessions = 1000, 1, list[Session]()
    for number in range(count):
        step = draw(st.integers(-900 if clock_goes_back else 10, 900))
        at += step if step >= 0 or at + step > 0 else 10
        if draw(st.integers(0, 4)) == 0:
            boot += 1
            at = draw(st.integers(1, 2000))  # a unit's clock may begin anywhere at a boot
        ends = ["WILL", "GOODBYE"] if number < count - 1 else ["WILL", "GOODBYE", None]
        sessions.append(Session(number, at, boot, draw(st.sampled_from(ends))))
    return sessions


def follow(messages: list[PresenceMessage]) -> VehicleState:
    state = FRESH
    for number, message in enumerate(messages):
        now = START + timedelta(days=1, seconds=number)
        state = follow_presence(state, message, now, 20.0)
        assert len(state.past_sessions) <= 16
    return state


def merged(sessions: list[Session], dice: Random, *, in_order: bool) -> list[PresenceMessage]:
    """Each session's messages in their order, sessions mixed, wills late, some of it twice.

    ``in_order``: a session's ONLINE comes before the next one's; its end may be as late as it
    likes.
    """
    queues = [session.messages() for session in sessions]
    arrived: list[PresenceMessage] = []
    begun = 0
    while any(queues):
        ready = [
            queue
            for number, queue in enumerate(queues)
            if queue and (not in_order or queue[0].state is not Presence.ONLINE or number == begun)
        ]
        queue = dice.choice(ready)
        begun += queue[0].state is Presence.ONLINE
        arrived.append(queue.pop(0))
        if dice.random() < 0.3:
            # Delivered again, by a broker or a replica that did not see the acknowledgement.
            arrived.append(dice.choice(arrived))
    return arrived


def check(sessions: list[Session], state: VehicleState) -> None:
    expected = "ONLINE" if sessions[-1].end is None else "OFFLINE"
    assert state.presence == expected
    if expected == "ONLINE":
        assert state.session == str(sessions[-1].number)


@settings(max_examples=400)
@given(lives(clock_goes_back=False), st.randoms(use_true_random=False))
def test_in_whatever_order_sessions_arrive(sessions: list[Session], dice: Random) -> None:
    check(sessions, follow(merged(sessions, dice, in_order=False)))


@settings(max_examples=400)
@given(lives(clock_goes_back=True), st.randoms(use_true_random=False))
def test_whatever_the_vehicles_clock_does(sessions: list[Session], dice: Random) -> None:
    """A clock that steps back within a boot does not make a connected vehicle OFFLINE."""
    state = follow(merged(sessions, dice, in_order=True))
    expected = "ONLINE" if sessions[-1].end is None else "OFFLINE"
    assert state.presence == expected


def test_a_clock_set_back_while_the_old_will_is_on_its_way() -> None:
    old, new = Session(1, 5000, 1, "WILL"), Session(2, 100, 1, "GOODBYE")
    state = follow([old.online(), new.online()])
    assert state.presence == "ONLINE"
    state = follow([old.online(), new.online(), old.offline()])
    assert (state.presence, state.session) == ("ONLINE", "2")
    state = follow([old.online(), new.online(), old.offline(), new.offline()])
    assert state.presence == "OFFLINE"


def test_a_replaced_unit_counts_its_boots_anew() -> None:
    old, new = Session(1, 5000, 17, "WILL"), Session(2, 6000, 1, "GOODBYE")
    assert follow([*old.messages(), new.online()]).presence == "ONLINE"
    late_will = [old.online(), new.online(), old.offline()]
    assert follow(late_will).presence == "ONLINE"
    assert follow([*late_will, new.offline()]).presence == "OFFLINE"
    again = Session(3, 7000, 2, None)
    assert follow([*late_will, new.offline(), again.online()]).session == "3"


def test_a_retained_message_of_an_older_session_begins_nothing() -> None:
    gone = follow(Session(1, 5000, 1, "GOODBYE").messages())
    old = Session(2, 100, 1, None).online()
    assert follow_presence(gone, old, START, 20.0, live=False) == gone
    assert follow_presence(gone, old, START, 20.0, live=True).presence == "ONLINE"
