"""What a message does to the state of its vehicle: pure decisions (DOMAIN 8; BUS, Presence)."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from core.contracts.bus import (
    Presence,
    PresenceMessage,
    ReportedConfig,
    VehicleStatus,
    digest_of,
    encode,
)

PAST_SESSIONS = 16  # that many are remembered, so that their late messages change nothing
MAX_SESSION = 64  # a UUID is shorter; of a longer name its hash is kept, for rows must not grow


class Why(StrEnum):
    """Why presence changed, as the connectivity log has it."""

    CONNECT = "CONNECT"
    DISCONNECT = "DISCONNECT"
    WILL = "WILL"
    SILENCE = "SILENCE"
    BACK = "BACK"  # heard again after a silence
    WEAK_SIGNAL = "WEAK_SIGNAL"
    STRONG_SIGNAL = "STRONG_SIGNAL"
    FLAP = "FLAP"


@dataclass(frozen=True, slots=True)
class VehicleState:
    """A row of the state table, without what is only ever replaced as a whole.

    ``new_status`` and ``new_values`` are those, null where they stay; ``firmware`` is the
    registry's. Times: ``presence_at``, ``status_at`` and ``reported_at`` are the vehicle's, the
    others ours.
    """

    vin: str
    model: str
    firmware: str
    presence: str = Presence.OFFLINE.value
    presence_since: datetime | None = None
    session: str | None = None
    session_ended: bool = False
    boot: int | None = None
    presence_at: datetime | None = None
    last_seen_at: datetime | None = None
    operational: str | None = None
    signal_pct: float | None = None
    status_at: datetime | None = None
    reported_digest: str | None = None
    reported_seq: int | None = None
    reported_at: datetime | None = None
    # The last report found in step with which wanted version, until when that holds, and the
    # version of now (gateway/wanted).
    in_step_digest: str | None = None
    in_step_version: int | None = None
    in_step_until: datetime | None = None
    wanted_version: int | None = None
    # Why presence is as it is.
    presence_reason: str | None = None
    # A session beside the present one, behind it by clock or boot, and the sessions that are over.
    other_session: str | None = None
    other_at: datetime | None = None
    other_boot: int | None = None
    past_sessions: list[str] = field(default_factory=list[str])
    new_status: dict[str, Any] | None = None
    new_values: list[dict[str, Any]] | None = None


def seen(state: VehicleState, now: datetime, limited_below: float) -> VehicleState:
    """The vehicle said something: a silence is over, an ended session is not."""
    return _settled(replace(state, last_seen_at=now), now, limited_below, Why.BACK)


def follow_presence(
    state: VehicleState,
    message: PresenceMessage,
    now: datetime,
    limited_below: float,
    *,
    live: bool = True,
) -> VehicleState:
    """Presence by session: a late will never overrides a newer ONLINE (BUS, Presence).

    ``live``: received as sent; a retained message can be of any age.
    """
    online = message.state is Presence.ONLINE
    message = msgspec.structs.replace(message, session=_short(message.session))
    if message.session == state.session:
        followed = _present(state, message)
    elif message.session == state.other_session:
        followed = state if online else _other_over(state)
    elif message.session in state.past_sessions:
        followed = state
    elif _is_newer(state, message):
        followed = _begin(state, message)
    else:
        followed = _from_behind(state, message, live=live)
    if followed is state:
        return state
    if online:
        # A will comes from the broker and is no sign of life.
        followed = replace(followed, last_seen_at=now)
    return _settled(followed, now, limited_below, _why(state, message))


def _short(session: str) -> str:
    if len(session) <= MAX_SESSION:
        return session
    return hashlib.sha256(session.encode(errors="surrogatepass")).hexdigest()


def _present(state: VehicleState, message: PresenceMessage) -> VehicleState:
    if message.state is Presence.ONLINE:
        # Its end is final: an ONLINE that arrives after it was only slow.
        return state if state.session_ended else replace(state, presence_at=_latest(state, message))
    if state.other_session is not None and state.other_at is not None:
        # The one whose clock went back is the one that lives.
        return replace(
            state,
            session=state.other_session,
            presence_at=state.other_at,
            boot=state.other_boot,
            other_session=None,
            other_at=None,
            other_boot=None,
            past_sessions=_past(state, message.session),
        )
    return replace(state, session_ended=True, presence_at=_latest(state, message))


def _latest(state: VehicleState, message: PresenceMessage) -> datetime:
    """A last will was written when its connection began: time must not go back with it."""
    known = state.presence_at
    return message.at if known is None or message.at > known else known


def _other_over(state: VehicleState) -> VehicleState:
    past = _past(state, state.other_session)
    return replace(state, other_session=None, other_at=None, other_boot=None, past_sessions=past)


def _is_newer(state: VehicleState, message: PresenceMessage) -> bool:
    if state.session is None or state.presence_at is None or state.boot is None:
        return True
    return (message.boot, message.at) > (state.boot, state.presence_at)


def _begin(state: VehicleState, message: PresenceMessage) -> VehicleState:
    """A later session takes the place of all there were."""
    return replace(
        _clock_of(state, message),
        session=message.session,
        session_ended=message.state is not Presence.ONLINE,
        boot=message.boot,
        presence_at=message.at,
        other_session=None,
        other_at=None,
        other_boot=None,
        past_sessions=_past(state, state.session, state.other_session),
    )


def _from_behind(state: VehicleState, message: PresenceMessage, *, live: bool) -> VehicleState:
    """A session nobody knew, by its clock before the present one.

    Either it is old and its messages were slow, or the vehicle's clock was set back, or a new unit
    counts its boots anew. Where the present session is over it begins; beside a living one it is
    remembered, and takes over once that one ends. A session wrongly taken for alive ends with the
    vehicle's silence; one wrongly taken for dead would be dead for good.
    """
    if message.state is not Presence.ONLINE:
        return replace(state, past_sessions=_past(state, message.session))
    if not live:
        return state
    if state.session_ended:
        return _begin(state, message)
    return replace(
        _clock_of(state, message),
        other_session=message.session,
        other_at=message.at,
        other_boot=message.boot,
        past_sessions=_past(state, state.other_session),
    )


def _clock_of(state: VehicleState, message: PresenceMessage) -> VehicleState:
    """A session that began before what the vehicle said last: its clock was set back.

    What it says from then on must count, though it is older by the hour than what it said before.
    """
    return replace(
        state,
        reported_at=_not_after(state.reported_at, message.at),
        status_at=_not_after(state.status_at, message.at),
    )


def _not_after(at: datetime | None, limit: datetime) -> datetime | None:
    return at if at is None else min(at, limit)


def _past(state: VehicleState, *sessions: str | None) -> list[str]:
    over = [session for session in sessions if session is not None]
    return [*(kept for kept in state.past_sessions if kept not in over), *over][-PAST_SESSIONS:]


def _why(state: VehicleState, message: PresenceMessage) -> Why:
    """A last will was written before its connection's ONLINE, a goodbye comes after it."""
    if message.state is Presence.ONLINE:
        return Why.CONNECT
    at = state.presence_at
    return Why.DISCONNECT if at is not None and message.at > at else Why.WILL


def is_flap(before: VehicleState, after: VehicleState, now: datetime, flap_s: float) -> bool:
    """Whether a session began, or a silence ended, within ``flap_s`` of the last change."""
    began = after.session != before.session and not after.session_ended
    back = before.presence == Presence.OFFLINE and after.presence != Presence.OFFLINE
    return (
        (began or back)
        and before.presence_since is not None
        and (now - before.presence_since).total_seconds() < flap_s
    )


def follow_status(
    state: VehicleState, status: VehicleStatus, now: datetime, limited_below: float
) -> VehicleState:
    """The latest status by the vehicle's own time."""
    if state.status_at is not None and status.at < state.status_at:
        return state
    followed = replace(
        state,
        operational=status.operational.value,
        signal_pct=status.signal_pct,
        status_at=status.at,
        new_status=msgspec.json.decode(encode(status)),
    )
    return _settled(followed, now, limited_below, Why.BACK)


def follow_config(state: VehicleState, report: ReportedConfig) -> VehicleState:
    """The latest reported configuration: a later time, or a higher command number.

    The number alone would do but for a replaced control unit, which begins again at 0. The digest
    kept is always that of the values kept.
    """
    if not (
        state.reported_at is None
        or report.at >= state.reported_at
        or report.seq > (state.reported_seq or 0)
    ):
        return state
    return replace(
        state,
        firmware=report.firmware,
        reported_digest=digest_of(report.values),
        reported_seq=report.seq,
        reported_at=report.at,
        new_values=[msgspec.to_builtins(value) for value in report.values],
    )


def _settled(state: VehicleState, now: datetime, limited_below: float, why: Why) -> VehicleState:
    if state.session is None or state.session_ended:
        presence = Presence.OFFLINE
    elif state.signal_pct is not None and state.signal_pct < limited_below:
        presence = Presence.LIMITED
    else:
        presence = Presence.ONLINE
    if presence.value == state.presence:
        return state
    if state.presence != Presence.OFFLINE and presence is not Presence.OFFLINE:
        why = Why.WEAK_SIGNAL if presence is Presence.LIMITED else Why.STRONG_SIGNAL
    return replace(state, presence=presence.value, presence_since=now, presence_reason=why.value)
