"""What a report means for the wanted configuration: pure decisions (DOMAIN 8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from core.contracts.bus import ParameterSetting
from core.contracts.values import same_value
from core.contracts.wanted import Change, Difference, Key


class Cause(StrEnum):
    """Why a vehicle drifted; see migrations/0021_gateway_wanted.sql."""

    NOT_FOLLOWED = "NOT_FOLLOWED"
    CHANGED_IN_VEHICLE = "CHANGED_IN_VEHICLE"
    UNIT_REPLACED = "UNIT_REPLACED"
    UNKNOWN_PARAMETER = "UNKNOWN_PARAMETER"
    MODEL_MISMATCH = "MODEL_MISMATCH"
    NOT_MANAGED = "NOT_MANAGED"


class DriftState(StrEnum):
    CORRECTING = "CORRECTING"
    FAILED = "FAILED"
    ALARM = "ALARM"
    CLOSED = "CLOSED"


class Ended(StrEnum):
    CORRECTED = "CORRECTED"
    BY_ITSELF = "BY_ITSELF"
    SUPERSEDED = "SUPERSEDED"
    NOTED = "NOTED"


TOO_MANY = "TOO_MANY"
# The vehicle was not there: the next time it reports it is.
NOT_REACHED = frozenset({"OFFLINE", "TIMEOUT", "EXPIRED", "TRANSIENT_NETWORK", "IOT_API_ERROR",
                         "SAFE_STATE_WAIT_OVER"})  # fmt: skip
_DAY = timedelta(days=1)
_SETTLED = frozenset({"APPLIED", "REJECTED", "DEFERRED"})


@dataclass(frozen=True, slots=True)
class Report:
    """A configuration a vehicle reported; ``at`` is its own time."""

    values: Sequence[ParameterSetting]
    seq: int
    at: datetime
    firmware: str
    model: str


@dataclass(frozen=True, slots=True)
class LastCommand:
    """The latest CONFIGURE of any door; ``answered_at`` is the vehicle's own time."""

    seq: int
    result: str | None
    answered_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class OpenDrift:
    """What is known of the vehicle's drift that is not closed."""

    state: str
    cause: str
    wanted_version: int
    difference: Sequence[Difference]
    firmware: str
    rounds: int
    reason: str | None
    delivering: bool  # a correction of it is under way
    asked_at: datetime | None = None  # when the engine was asked last
    failed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Nothing:
    """It stays as it is."""


@dataclass(frozen=True, slots=True)
class Open:
    """A drift begins; an alarm is not corrected."""

    cause: Cause
    state: DriftState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the engine for a correction (again); ``again`` counts as another round."""

    again: bool


@dataclass(frozen=True, slots=True)
class Update:
    """It differs in another way by now; the engine was asked so lately that it is told later."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """The drift is not to be corrected any more: for people."""

    cause: Cause
    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """The drift is over."""


Decision = Nothing | Open | Ask | Update | Alarm | Close


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings that decisions depend on."""

    drifts_per_day: int = 5
    rounds: int = 3
    ask_every: timedelta = timedelta(seconds=30)


def says_the_present(report: Report, last: LastCommand | None, now: datetime) -> bool:
    """Whether the report is from after our last command, so that it can show a drift.

    By the command's number; or, for a unit that counts anew, by the vehicle's own clock against its
    answer; a command without an answer can have its effect until it expires.
    """
    if last is None or report.seq >= last.seq:
        return True
    if last.result in _SETTLED and last.answered_at is not None:
        return report.at >= last.answered_at
    return last.expires_at is None or (now >= last.expires_at and report.at >= last.expires_at)


def cause_of(
    report: Report,
    found: Sequence[Difference],
    previous_seq: int | None,
    previous_differed: bool,
) -> Cause:
    """Why it drifted, as far as two reports tell; ``previous_differed``: so did the one before."""
    if previous_seq is not None and report.seq < previous_seq:
        return Cause.UNIT_REPLACED
    if all(difference.reported is None for difference in found):
        return Cause.UNKNOWN_PARAMETER
    return Cause.NOT_FOLLOWED if previous_differed else Cause.CHANGED_IN_VEHICLE


def decide(
    known: OpenDrift | None,
    report: Report,
    registered_model: str,
    version: int,
    found: Sequence[Difference],
    held: frozenset[Key],
    cause: Cause,
    today: int,
    limits: Limits,
    now: datetime,
) -> Decision:
    """What a report that says the present means; ``today``: other drifts of the last 24 h.

    ``held``: parameters that a delivery has in hand, which are nobody else's business until it
    ends.
    """
    if report.model != registered_model:
        # Not the vehicle we know: people must look, and no command of ours is meant for it.
        if known is None:
            return Open(Cause.MODEL_MISMATCH, DriftState.ALARM, report.model)
        alarm = known.cause == Cause.MODEL_MISMATCH
        return Nothing() if alarm else Alarm(Cause.MODEL_MISMATCH, report.model)
    if not found:
        return Nothing() if known is None else Close()
    if all(difference.key in held for difference in found):
        return Nothing()
    if known is None:
        if today >= limits.drifts_per_day:
            return Open(cause, DriftState.ALARM, TOO_MANY)
        return Open(cause, DriftState.CORRECTING)
    return _go_on(known, report, version, found, today, limits, now)


def _go_on(
    known: OpenDrift,
    report: Report,
    version: int,
    found: Sequence[Difference],
    today: int,
    limits: Limits,
    now: datetime,
) -> Decision:
    if known.reason == TOO_MANY and known.state == DriftState.ALARM:
        return Ask(again=True) if today < limits.drifts_per_day else Nothing()
    if known.state == DriftState.ALARM:
        return Ask(again=True)  # the model is right by now
    superseded = known.wanted_version != version
    changed = list(known.difference) != list(found) or known.firmware != report.firmware
    if known.state == DriftState.CORRECTING:
        if not (changed or superseded or not known.delivering):
            return Nothing()
        # A vehicle that reports something else each second must not fill the engine's queue.
        lately = known.asked_at is not None and now - known.asked_at < limits.ask_every
        if not lately:
            return Ask(again=False)
        return Update() if changed or superseded else Nothing()
    if superseded:
        return Ask(again=True)
    # What can be different this time; but not for ever, or a vehicle that refuses and reports now
    # this, now that would use up its whole quota hour by hour.
    hope = changed or known.reason in NOT_REACHED
    rested = known.failed_at is not None and now - known.failed_at >= _DAY
    return Ask(again=True) if hope and (known.rounds < limits.rounds or rested) else Nothing()


def changed_by_others(
    before: Sequence[ParameterSetting],
    report: Sequence[ParameterSetting],
    managed: frozenset[Key],
) -> list[Change]:
    """What became otherwise between two reports of the parameters that nothing is wanted of."""
    was = {(item.module, item.parameter): item.value for item in before}
    return [
        Change(item.module, item.parameter, was[key], item.value)
        for item in report
        if (key := (item.module, item.parameter)) in was
        and key not in managed
        and not same_value(was[key], item.value)
    ]
