"""What follows from a command and from what the API says to it: pure decisions (DOMAIN 7 and 9)."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from uuid import UUID

from core.contracts.bus import Command, Operational, Reason, Result, SafeState
from core.contracts.iot_api import CommandAccepted, CommandStatus, CommandView, StatusView
from gateway.foreign.outcome import Down, Outcome, Reply
from gateway.foreign.translate import contradicts, shows

_MAX_DOUBLINGS = 16
# However long an API asks for: a deferred command ends after a day (DOMAIN 20, ota.defer_max).
_LONGEST_WAIT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Again:
    """Not now; ``why`` for the log."""

    at: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The API has the command, durable, under an id of its own."""

    foreign_id: UUID
    status: CommandStatus


@dataclass(frozen=True, slots=True)
class Told:
    """The last word about a command. ``quiet_until``: say no status before."""

    result: Result
    reason: Reason | None = None
    detail: str | None = None
    quiet_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Completed:
    """The API says that the vehicle has it: read what the vehicle reports, then tell."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The settings decisions depend on; in seconds."""

    retry_s: float = 1.0
    retry_max_s: float = 30.0
    command_poll_s: float = 5.0
    late_s: float = 120.0

    def backoff(self, tries: int) -> timedelta:
        """Before try number ``tries`` + 1."""
        grown = self.retry_s * 2.0 ** min(tries, _MAX_DOUBLINGS)
        return timedelta(seconds=min(grown, self.retry_max_s))


# A busy vehicle at the other side, not a conflict of services: it passes.
_PASSING_CONFLICTS = frozenset({"COMMAND_IN_PROGRESS"})
# Codes that mean the same on both sides. Bad signatures and wrong numbers there are between them
# and their vehicle: no security matter of ours.
_SAME = {
    code.value: code
    for code in (
        Reason.UNKNOWN_PARAMETER,
        Reason.INVALID_VALUE,
        Reason.INCOMPATIBLE,
        Reason.CONFLICT,
        Reason.BUSY,
        Reason.FIRMWARE_ERROR,
        Reason.MALFORMED,
    )
}
# Not carried out in time, or overtaken there: the engine asks first, then tries again.
_TOO_LATE = frozenset({"TIMEOUT", "EXPIRED", "REPLAYED", "OFFLINE"})


def refuse(
    vin: str, command: Command, highest_seq: int, now: datetime
) -> tuple[Reason, str] | None:
    """A vehicle's duty: what is not to be carried out at all, and why (DOMAIN 7)."""
    if command.vin != vin:
        return Reason.WRONG_VEHICLE, f"this is {vin}"
    if command.seq <= highest_seq:
        return Reason.REPLAYED, f"seq {command.seq} is not above {highest_seq}"
    if command.expires_at <= now:
        return Reason.EXPIRED, "it came too late"
    return None


def must_wait(command: Command, operational: Operational | None) -> bool:
    """Whether the vehicle is not in the safe state the command asks for; unknown = let it try."""
    return command.safe_state is SafeState.PARKED and operational is Operational.RUNNING


def after_order(
    outcome: Outcome, tries: int, expires_at: datetime, now: datetime, waits: Waits
) -> Again | Taken | Told:
    """What an answer to ``configure`` means."""
    if isinstance(outcome, Down):
        return _later(outcome.why, outcome.retry_at or now + waits.backoff(tries), expires_at)
    if outcome.ok:
        accepted = outcome.read(CommandAccepted)
        if accepted is not None:
            return Taken(accepted.command_id, accepted.status)
        return Told(Result.REJECTED, Reason.MALFORMED, "the API's answer is not of the contract")
    if outcome.status == 429:
        return _over_quota(outcome, expires_at, now)
    passes = outcome.status == 409 and outcome.code in _PASSING_CONFLICTS
    if passes or outcome.status >= 500:
        return _later(_detail(outcome), now + waits.backoff(tries), expires_at)
    return _refused(outcome)


def _refused(reply: Reply) -> Told:
    """What will not go away by waiting (DOMAIN 7, failures: escalate at once)."""
    match reply.status:
        case 409:
            reason = Reason.CONFLICT
        case 422:
            reason = _SAME.get(reply.code or "", Reason.INCOMPATIBLE)
        case 404:
            reason = Reason.INCOMPATIBLE
        case _:
            # 400, 401, 403 and what else a wrong address answers: our configuration, not the
            # vehicle's fault; the detail says so on the ticket.
            reason = Reason.MALFORMED
    return Told(Result.REJECTED, reason, _detail(reply))


def after_poll(
    outcome: Outcome, tries: int, expires_at: datetime, now: datetime, waits: Waits
) -> Again | Completed | Told:
    """What an answer about a command that the API has means."""
    over = now >= expires_at + timedelta(seconds=waits.late_s)
    if isinstance(outcome, Reply) and outcome.ok:
        view = outcome.read(CommandView)
        if view is not None and view.status is CommandStatus.COMPLETED:
            return Completed()
        if view is not None and view.status is CommandStatus.FAILED:
            return after_failure(view.error_code, now)
    if over:
        return Told(Result.REJECTED, Reason.EXPIRED, "the API never said how it ended")
    if isinstance(outcome, Down):
        return Again(outcome.retry_at or now + waits.backoff(tries), outcome.why)
    if outcome.ok:
        return Again(now + timedelta(seconds=waits.command_poll_s), "under way")
    return Again(now + waits.backoff(tries), _detail(outcome))


def after_failure(error_code: str | None, now: datetime) -> Told:
    """What the engine is to hear of a command that FAILED there (DOMAIN 7, failures)."""
    code = (error_code or "no code")[:200]
    detail = f"the API says FAILED: {code}"
    if code == Reason.UNSAFE_STATE:
        return Told(Result.DEFERRED, Reason.UNSAFE_STATE, detail)
    if code == "RATE_LIMITED":
        return Told(Result.DEFERRED, Reason.BUSY, detail, now + timedelta(minutes=10))
    if code in _TOO_LATE:
        return Told(Result.REJECTED, Reason.EXPIRED, detail)
    return Told(Result.REJECTED, _SAME.get(code, Reason.FIRMWARE_ERROR), detail)


def kept_quiet(told: Told, status: StatusView | None, now: datetime, quiet_s: float) -> Told:
    """``told``, with silence after an UNSAFE_STATE that the status does not explain.

    The engine sends again at the next status that says the vehicle stands. Where the API says that
    it drives, that is news worth waiting for; else the next status says nothing new, and the engine
    would send at once, again and again, until the vehicle's quota is used up.
    """
    drives = status is not None and status.operational == Operational.RUNNING.value
    if told.reason is not Reason.UNSAFE_STATE or drives:
        return told
    return replace(told, quiet_until=now + timedelta(seconds=quiet_s))


def unproved(status: StatusView | None, command: Command, set_since: Collection[str]) -> str | None:
    """Why a command that the API calls COMPLETED is not proved by the vehicle's status (S6).

    ``set_since``: parameters that later commands have set. Where one of this command's is among
    them, the report shows how things are, and not whether this command ever was in effect.
    """
    if status is None:
        return "its status cannot be read"
    if status.reported_configuration is None:
        return "its status denies it" if contradicts(status, command) else None
    names = {f"{item.module}.{item.parameter}" for item in command.values}
    if shows(status.reported_configuration, command.values) or names & set(set_since):
        return None
    return "the configuration it reports does not show it"


def retry_after(reply: Reply, now: datetime) -> timedelta:
    """How long a 429 asks to wait: the header in seconds or as a date, the body, else a minute."""
    header = (reply.retry_after or "").strip()
    if header.isascii() and header.isdigit():
        return min(timedelta(seconds=int(header[:6])), _LONGEST_WAIT)
    try:
        at = parsedate_to_datetime(header)
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
        return min(max(timedelta(), wait), _LONGEST_WAIT)
    except (ValueError, TypeError, OverflowError):
        pass
    given = reply.error.get("retryAfterSeconds")
    if isinstance(given, int) and not isinstance(given, bool):
        return min(timedelta(seconds=min(max(given, 1), 86_400)), _LONGEST_WAIT)
    return timedelta(minutes=1)


def _over_quota(reply: Reply, expires_at: datetime, now: datetime) -> Again | Told:
    """Wait as long as we are told; where the command does not live that long, defer it.

    A deferral uses no attempt (DOMAIN 7, Quota); the engine sends anew once the vehicle says its
    status again, which is what ``quiet_until`` puts off.
    """
    at = now + retry_after(reply, now)
    if at < expires_at:
        return Again(at, "the API's quota is used up")
    detail = f"the API's quota is used up until {at.isoformat(timespec='seconds')}"
    return Told(Result.DEFERRED, Reason.BUSY, detail, at)


def _later(why: str, at: datetime, expires_at: datetime) -> Again:
    return Again(min(at, expires_at), why)


def _detail(reply: Reply) -> str:
    message = reply.error.get("message")
    return f"the API answered {reply.status} {reply.code or ''} {message or ''}".strip()[:300]
