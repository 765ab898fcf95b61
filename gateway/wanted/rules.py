"""What a report means for the wanted configuration: pure decisions (DOMAIN 8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.contracts.bus import ParameterSetting
from core.contracts.wanted import Difference, Key


class Cause(StrEnum):
    """Why a vehicle drifted; see migrations/0021_gateway_wanted.sql."""

    NOT_FOLLOWED = "NOT_FOLLOWED"
    CHANGED_IN_VEHICLE = "CHANGED_IN_VEHICLE"
    UNIT_REPLACED = "UNIT_REPLACED"
    UNKNOWN_PARAMETER = "UNKNOWN_PARAMETER"
    MODEL_MISMATCH = "MODEL_MISMATCH"


class DriftState(StrEnum):
    CORRECTING = "CORRECTING"
    FAILED = "FAILED"
    ALARM = "ALARM"
    CLOSED = "CLOSED"


class Ended(StrEnum):
    CORRECTED = "CORRECTED"
    BY_ITSELF = "BY_ITSELF"
    SUPERSEDED = "SUPERSEDED"


TOO_MANY = "TOO_MANY"
# The vehicle was not there: the next time it reports it is.
NOT_REACHED = frozenset({"OFFLINE", "TIMEOUT", "EXPIRED", "TRANSIENT_NETWORK", "IOT_API_ERROR",
                         "SAFE_STATE_WAIT_OVER"})  # fmt: skip
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
class Alarm:
    """The drift is not to be corrected any more: for people."""

    cause: Cause
    reason: str


@dataclass(frozen=True, slots=True)
class Close:
    """The drift is over."""


Decision = Nothing | Open | Ask | Alarm | Close


@dataclass(frozen=True, slots=True)
class Limits:
    """Settings that decisions depend on."""

    drifts_per_day: int = 5
    rounds: int = 3


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
    return _go_on(known, report, version, found, today, limits)


def _go_on(
    known: OpenDrift,
    report: Report,
    version: int,
    found: Sequence[Difference],
    today: int,
    limits: Limits,
) -> Decision:
    if known.reason == TOO_MANY and known.state == DriftState.ALARM:
        return Ask(again=True) if today < limits.drifts_per_day else Nothing()
    if known.state == DriftState.ALARM:
        return Ask(again=True)  # the model is right by now
    changed = (
        list(known.difference) != list(found)
        or known.wanted_version != version
        or known.firmware != report.firmware
    )
    if known.state == DriftState.CORRECTING:
        return Ask(again=False) if changed or not known.delivering else Nothing()
    absent = known.reason in NOT_REACHED and known.rounds < limits.rounds
    return Ask(again=True) if changed or absent else Nothing()
