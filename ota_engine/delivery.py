"""What a delivery does about what happens to it: pure decisions, no I/O (DOMAIN 7).

``decide`` is the whole of it: a delivery as stored, an event and the present moment give one
decision. `ota_engine.steps` carries decisions out.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.contracts.bus import STANDING, Operational, Reason, Result
from ota_engine.model import Delivery, DeliveryState, Phase, Vehicle
from ota_engine.proof import Verdict
from ota_engine.retry import (
    ENDED_BY_COMING_ONLINE,
    HANDLING,
    Failure,
    Handling,
    RetryPolicy,
    delay_s,
    failure_of,
)

# --- what can happen --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Turn:
    """It is due and its car is free: begin (or begin again)."""

    vehicle: Vehicle | None
    conflict: bool = False  # the same service is in use already


@dataclass(frozen=True, slots=True)
class TimerRang:
    """Its ``due_at`` has passed in a state that waits for something else."""

    vehicle: Vehicle | None


@dataclass(frozen=True, slots=True)
class CameOnline:
    """The car is there now (presence)."""


@dataclass(frozen=True, slots=True)
class StatusSeen:
    """The car published its status; ``at`` is its own time."""

    operational: Operational
    at: datetime
    live: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """The car answered the CONFIGURE that is out; ``at`` is its own time."""

    result: Result
    reason: Reason | None
    at: datetime
    vehicle: Vehicle | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """The car reported its configuration. ``after_report``: after it had answered our QUERY."""

    verdict: Verdict
    after_report: bool = False


Event = Turn | TimerRang | CameOnline | StatusSeen | Answered | Reported

# --- what to do about it ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Nothing:
    """It changes nothing."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a new CONFIGURE (quota permitting); ``phase`` where the off/on cycle moves on."""

    phase: Phase | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Open an attempt and wait for the car until ``until``; look for it at ``recheck_at``."""

    until: datetime
    recheck_at: datetime


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a QUERY and wait for its report until ``until``."""

    until: datetime
    failure: Failure


@dataclass(frozen=True, slots=True)
class Defer:
    """Wait for the safe state until ``by``; look again at ``recheck_at``; no attempt used."""

    by: datetime
    recheck_at: datetime
    deferred_at: datetime
    first: bool


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed; the next one is at ``at``."""

    at: datetime
    failure: Failure


@dataclass(frozen=True, slots=True)
class Escalate:
    """Give up: diagnose, then a ticket."""

    failure: Failure
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Hurry:
    """End the wait before the next attempt."""


@dataclass(frozen=True, slots=True)
class Prove:
    """The car shows the wanted values: done."""


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """What could be learned for the ticket is there: open it."""


Decision = Nothing | Send | Check | Ask | Defer | Retry | Escalate | Hurry | Prove | Diagnosed


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings decisions depend on."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    command_timeout: timedelta = timedelta(seconds=300)
    status_timeout: timedelta = timedelta(seconds=30)
    defer_max: timedelta = timedelta(hours=24)
    defer_recheck: timedelta = timedelta(seconds=30)
    check_poll: timedelta = timedelta(seconds=5)


def decide(delivery: Delivery, event: Event, now: datetime, policy: Policy) -> Decision:
    """What ``delivery`` does about ``event``."""
    state = DeliveryState(delivery.state)
    match event:
        case Reported():
            return _reported(delivery, state, event, now, policy)
        case Answered():
            return _answered(delivery, state, event, now, policy)
        case Turn():
            return _turn(delivery, state, event, now, policy)
        case TimerRang(vehicle):
            return _timer_rang(delivery, state, vehicle, now, policy)
        case CameOnline():
            return _came_online(delivery, state)
        case StatusSeen():
            return _status_seen(delivery, state, event)


def failed(
    delivery: Delivery, failure: Failure, now: datetime, policy: Policy, detail: str | None = None
) -> Decision:
    """The end of an attempt that ran into ``failure``, once nothing more can be asked."""
    handling = HANDLING[failure]
    if handling is Handling.CYCLE:
        # One off/on cycle; the second time it is not 100 % delivered, so it failed.
        return Send(Phase.OFF) if delivery.is_on and delivery.phase is None else Escalate(failure)
    if handling is Handling.ESCALATE or delivery.retries >= delivery.max_retries:
        return Escalate(failure, detail)
    longer = handling is Handling.RETRY_LONGER
    wait = delay_s(policy.retry, delivery.retries, offline=longer)
    return Retry(now + timedelta(seconds=wait), failure)


def _turn(
    delivery: Delivery, state: DeliveryState, event: Turn, now: datetime, policy: Policy
) -> Decision:
    vehicle = event.vehicle
    if state is not DeliveryState.WAITING:
        return Nothing()
    if vehicle is None or vehicle.enrolment != "ENROLLED":
        return Escalate(Failure.UNKNOWN_VIN, "the registry does not know the vehicle")
    if event.conflict:
        return Escalate(Failure.CONFLICT, "the service is in use on this vehicle already")
    if not delivery.wanted:
        return Escalate(Failure.INCOMPATIBLE, "the service has no mapping for this platform")
    return Send() if vehicle.ready else _check(now + policy.command_timeout, now, policy)


def _check(until: datetime, now: datetime, policy: Policy) -> Check:
    return Check(until, min(until, now + policy.check_poll))


def _timer_rang(
    delivery: Delivery,
    state: DeliveryState,
    vehicle: Vehicle | None,
    now: datetime,
    policy: Policy,
) -> Decision:
    ready = vehicle is not None and vehicle.ready
    match state:
        case DeliveryState.CHECKING:
            if ready:
                return Send()
            if delivery.check_until is not None and now < delivery.check_until:
                return _check(delivery.check_until, now, policy)
            return failed(delivery, Failure.OFFLINE, now, policy)
        case DeliveryState.COMMANDED:
            return Ask(now + policy.status_timeout, Failure.TIMEOUT)
        case DeliveryState.QUERYING:
            return failed(delivery, _unanswered(delivery, ready), now, policy)
        case DeliveryState.DEFERRED:
            return _still_deferred(delivery, vehicle, now, policy)
        case DeliveryState.DIAGNOSING:
            return Diagnosed()
        case _:
            return Nothing()


def _unanswered(delivery: Delivery, ready: bool) -> Failure:
    """Why a queried attempt failed: a car that is gone gets the longer gaps."""
    if not ready:
        return Failure.OFFLINE
    return Failure.EXPIRED if delivery.last_reason == Failure.EXPIRED else Failure.TIMEOUT


def _still_deferred(
    delivery: Delivery, vehicle: Vehicle | None, now: datetime, policy: Policy
) -> Decision:
    assert delivery.safe_state_by is not None
    assert delivery.deferred_at is not None
    if now >= delivery.safe_state_by:
        return Escalate(Failure.SAFE_STATE_WAIT_OVER)
    if _stands_since(vehicle, delivery.deferred_at):
        return Send()
    return _defer(delivery, delivery.deferred_at, now, policy)


def _defer(delivery: Delivery, deferred_at: datetime, now: datetime, policy: Policy) -> Defer:
    by = delivery.safe_state_by or now + policy.defer_max
    first = delivery.safe_state_by is None
    return Defer(by, min(by, now + policy.defer_recheck), deferred_at, first)


def _stands_since(vehicle: Vehicle | None, deferred_at: datetime) -> bool:
    """True where the car reported a standing state after it deferred, by its own clock.

    Its status can overtake its answer on the way, so the stored one counts as well; one from
    before the deferral does not, or every deferral would cost a command of the quota.
    """
    if vehicle is None or vehicle.status_at is None or vehicle.standing_state not in STANDING:
        return False
    return vehicle.status_at >= deferred_at


def _came_online(delivery: Delivery, state: DeliveryState) -> Decision:
    if state is DeliveryState.CHECKING:
        return Send()
    waits_for_it = delivery.last_reason in ENDED_BY_COMING_ONLINE
    return Hurry() if state is DeliveryState.WAITING and waits_for_it else Nothing()


def _status_seen(delivery: Delivery, state: DeliveryState, event: StatusSeen) -> Decision:
    match state:
        case DeliveryState.CHECKING if event.live:
            return Send()
        case DeliveryState.DIAGNOSING if event.live:
            return Diagnosed()
        case DeliveryState.DEFERRED:
            assert delivery.deferred_at is not None
            stands = event.operational in STANDING and event.at >= delivery.deferred_at
            return Send() if stands else Nothing()
        case _:
            return Nothing()


def _answered(
    delivery: Delivery, state: DeliveryState, event: Answered, now: datetime, policy: Policy
) -> Decision:
    if state not in (DeliveryState.COMMANDED, DeliveryState.QUERYING):
        return Nothing()
    if event.result is Result.DEFERRED:
        return _deferred(delivery, event, now, policy)
    if event.result is not Result.REJECTED:
        return Nothing()  # "accepted" is not "done", nor is a bare APPLIED (S6)
    failure = failure_of(event.reason)
    match HANDLING[failure]:
        case Handling.WAIT_SAFE_STATE:
            return _deferred(delivery, event, now, policy)
        case Handling.QUERY_FIRST:
            asked = state is DeliveryState.QUERYING
            return Nothing() if asked else Ask(now + policy.status_timeout, failure)
        case _:
            return failed(delivery, failure, now, policy)


def _deferred(delivery: Delivery, event: Answered, now: datetime, policy: Policy) -> Decision:
    if delivery.safe_state_by is not None and now >= delivery.safe_state_by:
        return Escalate(Failure.SAFE_STATE_WAIT_OVER)
    defer = _defer(delivery, event.at, now, policy)
    if _stands_since(event.vehicle, event.at):
        # Parked in the meantime: the scan sends at once.
        return Defer(defer.by, now, defer.deferred_at, defer.first)
    return defer


def _reported(
    delivery: Delivery, state: DeliveryState, event: Reported, now: datetime, policy: Policy
) -> Decision:
    if event.verdict is Verdict.PROVEN:
        if delivery.phase != Phase.OFF:
            return Prove()
        return Nothing() if state is DeliveryState.DIAGNOSING else Send(Phase.AGAIN)
    if event.verdict is Verdict.STALE:
        return Nothing()
    asked = state is DeliveryState.QUERYING and event.after_report
    applied = state is DeliveryState.COMMANDED and delivery.applied
    if event.verdict is Verdict.PARTIAL and delivery.phase != Phase.OFF and (asked or applied):
        return failed(delivery, Failure.PARTIAL, now, policy)
    if asked:
        # The car itself says it is not so: no need to wait for the end of the query.
        return failed(delivery, _unanswered(delivery, ready=True), now, policy)
    return Nothing()
