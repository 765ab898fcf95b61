"""Who may buy what, at which price and for how long: pure decisions (DOMAIN 4, 6, 13)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from zoneinfo import ZoneInfo

from core.contracts.states import ActivationState
from core.errors import Conflict, DomainError, Forbidden, Invalid
from core.money import Money


class Tier(StrEnum):
    """The one-time durations of the price table; SUBSCRIPTION is a contract of its own."""

    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    QUARTER = "QUARTER"
    PERMANENT = "PERMANENT"


DURATION_DAYS: Mapping[Tier, int | None] = MappingProxyType(
    {Tier.DAY: 1, Tier.WEEK: 7, Tier.MONTH: 30, Tier.QUARTER: 90, Tier.PERMANENT: None}
)

# States in which an activation still holds, or will take, its place on the car.
LIVE_STATES = frozenset(
    {
        ActivationState.PURCHASE_INITIATED,
        ActivationState.PAYMENT_PENDING,
        ActivationState.SCHEDULED,
        ActivationState.QUEUED,
        ActivationState.ATTEMPTING,
        ActivationState.WAITING_SAFE_STATE,
        ActivationState.RETRY_SCHEDULED,
        ActivationState.ESCALATED,
        ActivationState.MANUAL_ATTEMPT,
        ActivationState.ACTIVE,
        # Refused withdrawal: the service stays on until it expires (DOMAIN 6).
        ActivationState.CANCELLED_NO_REFUND,
    }
)
# Switched on by the car, so a cancellation is a withdrawal.
ON_STATES = frozenset({ActivationState.ACTIVE, ActivationState.CANCELLED_NO_REFUND})
# Not yet active: a cancellation stops the delivery, always with a full refund (DOMAIN 13).
BEFORE_ACTIVE = LIVE_STATES - ON_STATES


def price_of(listed: Money, discount_percent: Decimal | int) -> Money:
    """The tier's price less the plan's discount (DOMAIN 4); never below a cent."""
    reduced = listed - listed.percent(max(Decimal(0), min(Decimal(discount_percent), Decimal(100))))
    return max(reduced, Money(1, listed.currency))


_VERSION = re.compile(r"\d+(?:\.\d+)*")


def firmware_at_least(firmware: str, minimum: str) -> bool:
    """True where ``firmware`` is ``minimum`` or newer, number by number (2.10 is above 2.9).

    What cannot be read as a version counts as too old.
    """
    have, need = _version(firmware), _version(minimum)
    if have is None or need is None:
        return False
    length = max(len(have), len(need))
    return have + (0,) * (length - len(have)) >= need + (0,) * (length - len(need))


def _version(text: str) -> tuple[int, ...] | None:
    # A build suffix (2.4.1-rc1) does not change which release it is.
    match = _VERSION.match(text.strip())
    return tuple(int(part) for part in match.group().split(".")) if match else None


@dataclass(frozen=True, slots=True)
class Occupied:
    """A time a service is, or will be, on a car; ``until`` None = for good."""

    since: datetime
    until: datetime | None


def overlaps(wanted: Occupied, taken: Occupied) -> bool:
    """True where both times share a moment."""
    return (wanted.until is None or taken.since < wanted.until) and (
        taken.until is None or wanted.since < taken.until
    )


def occupied(
    *,
    starts_at: datetime | None,
    activated_at: datetime | None,
    expires_at: datetime | None,
    duration_days: int | None,
    now: datetime,
) -> Occupied:
    """The time an activation takes; what is not active yet will start now or when it is due."""
    since = activated_at or max(starts_at or now, now)
    length = None if duration_days is None else timedelta(days=duration_days)
    return Occupied(since, expires_at or (None if length is None else since + length))


@dataclass(frozen=True, slots=True)
class Candidate:
    """Everything the checks before the gate look at.

    ``order_operational`` None: the caller has no order for this car.
    """

    order_operational: bool | None
    owner: bool
    on_platform: bool
    firmware: str | None
    min_firmware: str | None
    hidden: bool
    conflicting: bool
    price: Money
    cap: Money


def first_refusal(case: Candidate) -> DomainError | None:
    """The first check of DOMAIN 6 the purchase fails, in the order given there; None = go on.

    The gate and the payment come after, as they ask other systems.
    """
    if case.order_operational is False:
        return Conflict(
            "NOT_OPERATIONAL", "services can be bought once the car is delivered and linked"
        )
    if not case.owner:
        return Forbidden("NOT_OWNER", "this vehicle is not yours")
    if not case.on_platform:
        return Invalid("INCOMPATIBLE", "this vehicle's platform does not have the service")
    if case.min_firmware is not None and not firmware_at_least(
        case.firmware or "", case.min_firmware
    ):
        return Invalid(
            "FIRMWARE_TOO_OLD",
            f"the service needs firmware {case.min_firmware}",
            details={"firmware": case.firmware, "minFirmware": case.min_firmware},
        )
    if case.hidden:
        return Forbidden("SERVICE_HIDDEN", "this service is no longer offered to you")
    if case.conflicting:
        return Conflict("CONFLICT", "the service is on, or on its way, for that time already")
    if case.price > case.cap:
        return Invalid("CAP_EXCEEDED", f"a one-time service may cost {case.cap} at most")
    return None


def withdrawal_granted(
    *,
    activated_at: datetime,
    expires_at: datetime | None,
    duration_days: int | None,
    now: datetime,
    time_zone: str,
    window_days: int,
    long_threshold_days: int,
) -> bool:
    """Whether an active service may be given back for all its money (DOMAIN 13).

    Short contracts: any time before expiry, used or not. Long or permanent ones: through the
    window's last day, to its end on the customer's clock.
    """
    if expires_at is not None and now >= expires_at:
        return False
    if duration_days is not None and duration_days <= long_threshold_days:
        return True
    zone = ZoneInfo(time_zone)
    last_day = activated_at.astimezone(zone).date() + timedelta(days=window_days)
    closes = datetime.combine(last_day + timedelta(days=1), time.min, tzinfo=zone)
    return now < closes
