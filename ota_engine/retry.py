"""Which failures are tried again, how, and after how long (DOMAIN 7, Retries)."""

from dataclasses import dataclass
from enum import StrEnum

from core.contracts.bus import Reason


class Failure(StrEnum):
    """Every failure an attempt can end with; the value is its stable code."""

    TRANSIENT_NETWORK = "TRANSIENT_NETWORK"
    OFFLINE = "OFFLINE"
    BUSY = "BUSY"
    UNSAFE_STATE = "UNSAFE_STATE"
    IOT_API_ERROR = "IOT_API_ERROR"
    TIMEOUT = "TIMEOUT"
    EXPIRED = "EXPIRED"
    IOT_API_DOWN = "IOT_API_DOWN"
    QUOTA = "QUOTA"
    UNKNOWN_PARAMETER = "UNKNOWN_PARAMETER"
    INVALID_VALUE = "INVALID_VALUE"
    MALFORMED = "MALFORMED"
    INCOMPATIBLE = "INCOMPATIBLE"
    UNAUTHORISED = "UNAUTHORISED"
    CONFLICT = "CONFLICT"
    FIRMWARE_ERROR = "FIRMWARE_ERROR"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    WRONG_VEHICLE = "WRONG_VEHICLE"
    REPLAYED = "REPLAYED"
    UNKNOWN_VIN = "UNKNOWN_VIN"
    PARTIAL = "PARTIAL"
    SAFE_STATE_WAIT_OVER = "SAFE_STATE_WAIT_OVER"


class Handling(StrEnum):
    """What a failure asks for."""

    RETRY = "RETRY"  # with the growing delay
    RETRY_LONGER = "RETRY_LONGER"  # the same times the offline factor
    QUERY_FIRST = "QUERY_FIRST"  # ask the car what is so, then RETRY
    WAIT_SAFE_STATE = "WAIT_SAFE_STATE"  # no attempt used
    WAIT = "WAIT"  # as long as we were told; no attempt used
    CYCLE = "CYCLE"  # off and on again, once; then ESCALATE
    ESCALATE = "ESCALATE"


F, H = Failure, Handling

HANDLING: dict[Failure, Handling] = {
    F.TRANSIENT_NETWORK: H.RETRY,
    F.OFFLINE: H.RETRY_LONGER,
    F.BUSY: H.RETRY,
    F.UNSAFE_STATE: H.WAIT_SAFE_STATE,
    F.IOT_API_ERROR: H.RETRY,
    F.TIMEOUT: H.QUERY_FIRST,
    F.EXPIRED: H.QUERY_FIRST,
    F.IOT_API_DOWN: H.WAIT,
    F.QUOTA: H.WAIT,
    F.UNKNOWN_PARAMETER: H.ESCALATE,
    F.INVALID_VALUE: H.ESCALATE,
    F.MALFORMED: H.ESCALATE,
    F.INCOMPATIBLE: H.ESCALATE,
    F.UNAUTHORISED: H.ESCALATE,
    F.CONFLICT: H.ESCALATE,
    F.FIRMWARE_ERROR: H.ESCALATE,
    F.BAD_SIGNATURE: H.ESCALATE,
    F.WRONG_VEHICLE: H.ESCALATE,
    F.REPLAYED: H.ESCALATE,
    F.UNKNOWN_VIN: H.ESCALATE,
    F.PARTIAL: H.CYCLE,
    F.SAFE_STATE_WAIT_OVER: H.ESCALATE,
}

# A car that comes online ends these waits at once (DOMAIN 7).
ENDED_BY_COMING_ONLINE = frozenset(
    {F.OFFLINE, F.TIMEOUT, F.EXPIRED, F.TRANSIENT_NETWORK, F.IOT_API_ERROR}
)
# Somebody forges or repeats commands, or our keys are wrong: more than one service's matter.
SECURITY = frozenset({F.BAD_SIGNATURE, F.REPLAYED, F.WRONG_VEHICLE})

_MAX_DOUBLINGS = 32  # beyond it every base delay is over every cap


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds and factors of DOMAIN 20, ota.*."""

    base_delay_s: float = 30.0
    max_delay_s: float = 900.0
    offline_factor: float = 4.0


def failure_of(reason: Reason | None) -> Failure:
    """The failure a REJECTED answer means; one without a reason is a firmware error."""
    return Failure.FIRMWARE_ERROR if reason is None else Failure(reason.value)


def delay_s(policy: RetryPolicy, retry: int, *, offline: bool) -> float:
    """Seconds before retry number ``retry`` (from 0): min(2^retry x base, cap), offline longer."""
    grown = policy.base_delay_s * 2.0 ** min(retry, _MAX_DOUBLINGS)
    factor = policy.offline_factor if offline else 1.0
    return min(grown * factor, policy.max_delay_s)
