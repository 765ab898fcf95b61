"""What a message does to the state of its vehicle: pure decisions (DOMAIN 8; BUS, Presence)."""

from dataclasses import dataclass, field, replace
from datetime import datetime
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
    presence_reason: str | None = None
    other_session: str | None = None
    other_at: datetime | None = None
    past_sessions: list[str] = field(default_factory=list[str])
    new_status: dict[str, Any] | None = None
    new_values: list[dict[str, Any]] | None = None


def seen(state: VehicleState, now: datetime, limited_below: float) -> VehicleState:
    """The vehicle said something: a silence is over, an ended session is not."""
    return _settled(replace(state, last_seen_at=now), now, limited_below)


def follow_presence(
    state: VehicleState, message: PresenceMessage, now: datetime, limited_below: float
) -> VehicleState:
    """Presence by session: a late will never overrides a newer ONLINE (BUS, Presence)."""
    if not _counts(state, message):
        return state
    online = message.state is Presence.ONLINE
    followed = replace(
        state,
        session=message.session,
        session_ended=not online,
        boot=message.boot,
        # A last will was written when its connection began: time must not go back with it.
        presence_at=_later(state.presence_at, message.at)
        if state.session == message.session
        else message.at,
        # A will comes from the broker and is no sign of life.
        last_seen_at=now if online else state.last_seen_at,
    )
    return _settled(followed, now, limited_below)


def is_flap(before: VehicleState, after: VehicleState, now: datetime, flap_s: float) -> bool:
    """Whether a new session began within ``flap_s`` of the last change of presence."""
    return (
        after.session != before.session
        and not after.session_ended
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
    return _settled(followed, now, limited_below)


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


def _counts(state: VehicleState, message: PresenceMessage) -> bool:
    if state.session is None or state.presence_at is None or state.boot is None:
        return True
    if message.session == state.session:
        # Its end is final: an ONLINE that arrives after it was only slow.
        return message.state is Presence.OFFLINE or not state.session_ended
    return (message.boot, message.at) > (state.boot, state.presence_at)


def _settled(state: VehicleState, now: datetime, limited_below: float) -> VehicleState:
    if state.session is None or state.session_ended:
        presence = Presence.OFFLINE
    elif state.signal_pct is not None and state.signal_pct < limited_below:
        presence = Presence.LIMITED
    else:
        presence = Presence.ONLINE
    if presence.value == state.presence:
        return state
    return replace(state, presence=presence.value, presence_since=now)


def _later(one: datetime | None, other: datetime) -> datetime:
    return other if one is None or other > one else one
