"""The messages of the command bus as types (BUS), and their decoding with a typed refusal."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar, cast
from uuid import UUID

import msgspec

from core.contracts.numbers import canonical_number
from core.contracts.topics import MAX_PAYLOAD_BYTES
from core.errors import DomainError

MAX_AHEAD = timedelta(hours=24)  # a time further in the future is unusable (BUS, last section)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
# JSON's interoperable integers (RFC 8259, section 6); no counter of ours comes near.
MAX_INTEGER = 2**53 - 1

ParameterValue = bool | Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)] | float | str
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Latitude = Annotated[float, msgspec.Meta(ge=-90, le=90)]
Longitude = Annotated[float, msgspec.Meta(ge=-180, le=180)]
Counter = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class CommandKind(StrEnum):
    CONFIGURE = "CONFIGURE"
    QUERY = "QUERY"
    TEST = "TEST"
    DISPLAY = "DISPLAY"


class SafeState(StrEnum):
    PARKED = "PARKED"
    ANY = "ANY"


class DisplayLevel(StrEnum):
    INFO = "INFO"
    WARNING = "WARNING"


class Result(StrEnum):
    ACCEPTED = "ACCEPTED"
    APPLIED = "APPLIED"
    DEFERRED = "DEFERRED"
    REJECTED = "REJECTED"
    REPORT = "REPORT"


class Reason(StrEnum):
    EXPIRED = "EXPIRED"
    REPLAYED = "REPLAYED"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    WRONG_VEHICLE = "WRONG_VEHICLE"
    UNKNOWN_PARAMETER = "UNKNOWN_PARAMETER"
    INVALID_VALUE = "INVALID_VALUE"
    INCOMPATIBLE = "INCOMPATIBLE"
    CONFLICT = "CONFLICT"
    BUSY = "BUSY"
    FIRMWARE_ERROR = "FIRMWARE_ERROR"
    MALFORMED = "MALFORMED"
    UNSAFE_STATE = "UNSAFE_STATE"


class Operational(StrEnum):
    RUNNING = "RUNNING"
    PARKED = "PARKED"
    CHARGING = "CHARGING"
    OFF = "OFF"


# States in which a command with safe_state PARKED may be applied: the car does not move.
STANDING = frozenset({Operational.PARKED, Operational.CHARGING, Operational.OFF})


class Presence(StrEnum):
    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    LIMITED = "LIMITED"  # the platform's own reading of a weak signal; never on the wire


class ServiceState(StrEnum):
    ACTIVE = "ACTIVE"
    PENDING = "PENDING"
    ERROR = "ERROR"


class EventType(StrEnum):
    BOOT = "BOOT"
    DTC_SET = "DTC_SET"
    DTC_CLEARED = "DTC_CLEARED"
    FEATURE_ON = "FEATURE_ON"
    FEATURE_OFF = "FEATURE_OFF"
    FEATURE_USED = "FEATURE_USED"
    COLLISION = "COLLISION"
    TAMPER = "TAMPER"
    LINK_CONFIRMED = "LINK_CONFIRMED"


class ParameterSetting(msgspec.Struct, frozen=True):
    """One optional parameter and its value; base platform parameters have no such name (S2)."""

    module: str
    parameter: str
    value: ParameterValue


class Command(msgspec.Struct, frozen=True):
    """What the platform tells a vehicle, inside the JWS of ``cmd``."""

    vin: str
    command_id: UUID
    seq: Annotated[int, msgspec.Meta(ge=1, le=MAX_INTEGER)]
    kind: CommandKind
    issued_at: Moment
    expires_at: Moment
    service: str | None = None
    values: list[ParameterSetting] = []
    safe_state: SafeState = SafeState.ANY
    valid_until: Moment | None = None
    revert_values: list[ParameterSetting] = []
    # Only DISPLAY has these two; they are left out of the JSON elsewhere.
    text: str | msgspec.UnsetType = msgspec.UNSET
    level: DisplayLevel | msgspec.UnsetType = msgspec.UNSET


class Answer(msgspec.Struct, frozen=True):
    """A vehicle's answer to a command; ids are null where it could not read them."""

    result: Result
    at: Moment
    command_id: UUID | None = None
    seq: Counter | None = None
    reason: Reason | None = None
    detail: str | None = None


class ReportedConfig(msgspec.Struct, frozen=True):
    """Every optional parameter a vehicle's firmware knows, as it stands: the only proof (S6)."""

    at: Moment
    seq: Counter
    firmware: str
    model: str
    values: list[ParameterSetting]
    digest: str


class ActiveService(msgspec.Struct, frozen=True):
    service: str
    since: Moment
    state: ServiceState


def _no_codes() -> list[str]:
    return []


def _no_services() -> list[ActiveService]:
    return []


class VehicleStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a vehicle is. The two lists are always written, and read as empty where they miss."""

    at: Moment
    operational: Operational
    firmware: str
    signal_pct: Percent
    lat: Latitude | None = None
    lon: Longitude | None = None
    odometer_km: float | None = None
    soc_pct: Percent | None = None
    fuel_pct: Percent | None = None
    # By functions of our own, for what is made by `list` counts as a default and is left out.
    error_codes: list[str] = msgspec.field(default_factory=_no_codes)
    latency_ms: float | None = None
    packet_loss_pct: Percent | None = None
    active_services: list[ActiveService] = msgspec.field(default_factory=_no_services)


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One telemetry sample; ``t`` is milliseconds since the epoch, all else may be missing."""

    t: Counter
    speed_kmh: float | None = None
    soc_pct: float | None = None
    odometer_km: float | None = None
    lat: float | None = None
    lon: float | None = None
    heading_deg: float | None = None
    battery_v: float | None = None
    battery_temp_c: float | None = None
    motor_temp_c: float | None = None
    ambient_c: float | None = None
    power_kw: float | None = None
    state: Operational | None = None
    extra: dict[str, float] | None = None


class TelemetryBatch(msgspec.Struct, frozen=True):
    boot: Counter
    n: Counter
    samples: Annotated[list[Sample], msgspec.Meta(min_length=1, max_length=500)]


class Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """The end-to-end receipt: everything of ``boot`` up to ``n`` but ``missing`` is committed."""

    boot: Counter
    n: Counter
    missing: list[Counter] = []


class VehicleEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    event_id: UUID
    at: Moment
    type: EventType
    code: str | None = None
    detail: str | None = None


class PresenceMessage(msgspec.Struct, frozen=True):
    state: Presence
    at: Moment
    session: str
    boot: Counter

    def __post_init__(self) -> None:
        if self.state is Presence.LIMITED:
            raise ValueError("LIMITED is the platform's word; a vehicle is ONLINE or OFFLINE")


class Unusable(DomainError):
    """A message the platform cannot use; ``code`` is the reason kept in the quarantine."""


T = TypeVar("T", bound=msgspec.Struct)
_decoders: dict[type, msgspec.json.Decoder[Any]] = {}
_encoder = msgspec.json.Encoder()


def decode(kind: type[T], payload: bytes) -> T:
    """``payload`` as ``kind``; Unusable with TOO_LARGE, NOT_JSON or MALFORMED otherwise."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Unusable("TOO_LARGE", f"{len(payload)} bytes, the limit is {MAX_PAYLOAD_BYTES}")
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        # msgspec looks at no byte of a member it does not know; JSON is UTF-8 as a whole.
        payload.decode()
        message = decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise Unusable("MALFORMED", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unusable("NOT_JSON", str(error)) from None
    except RecursionError:
        raise Unusable("MALFORMED", "nested too deeply") from None
    _check_inner_times(message)
    # NUL is legal in JSON and impossible in PostgreSQL's text and jsonb.
    if b"\\u0000" in payload and _has_nul(msgspec.to_builtins(message)):
        raise Unusable("MALFORMED", "a text holds the character NUL")
    return message


def encode(message: msgspec.Struct) -> bytes:
    """A message as the bus writes it: compact JSON, times in UTC with milliseconds (BUS)."""
    return _encoder.encode(_with_times(msgspec.to_builtins(message, builtin_types=(datetime,))))


def _with_times(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {key: _with_times(item) for key, item in members.items()}
    if isinstance(value, list):
        return [_with_times(item) for item in cast("list[Any]", value)]
    return value


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        members = cast("dict[Any, Any]", value)
        return any(_has_nul(key) or _has_nul(item) for key, item in members.items())
    return isinstance(value, list) and any(_has_nul(item) for item in cast("list[Any]", value))


def check_time(at: datetime, now: datetime) -> None:
    """Unusable (FROM_THE_FUTURE) where ``at`` is more than 24 h ahead of ``now`` (BUS).

    A time before 1970 is MALFORMED: no clock shows it, and neither the sample's time nor every
    language's calendar has it.
    """
    _check_past_1970(at)
    if at - now > MAX_AHEAD:
        raise Unusable("FROM_THE_FUTURE", f"{at.isoformat()} is more than 24 h ahead")


def check_sample_times(times_ms: Sequence[int], now: datetime) -> None:
    """Unusable (FROM_THE_FUTURE) where a sample's time is more than 24 h ahead of ``now`` (BUS).

    ``times_ms``: of one batch, in milliseconds since the epoch; at least one.
    """
    newest = max(times_ms)
    if newest > (now + MAX_AHEAD - EPOCH) // timedelta(milliseconds=1):
        raise Unusable("FROM_THE_FUTURE", f"a sample of t={newest} is over 24 h ahead")


def _check_inner_times(message: msgspec.Struct) -> None:
    """Of the times a message has beside ``at``, only that UTC can write them."""
    if isinstance(message, VehicleStatus):
        for service in message.active_services:
            _check_past_1970(service.since)
            if service.since > LAST_MOMENT:
                raise Unusable("MALFORMED", f"{service.since.isoformat()} is past the year 9999")


def _check_past_1970(at: datetime) -> None:
    if at < EPOCH:
        raise Unusable("MALFORMED", f"{at.isoformat()} is before 1970")


def digest_of(values: Iterable[ParameterSetting]) -> str:
    """SHA-256 over the sorted lines ``module.parameter=value`` (value as JSON), joined by LF.

    A number is written as RFC 8785 has it: 4.0 and 4 are one value and have one digest.
    """
    return _digest(values, _canonical)


def fits_digest(config: ReportedConfig) -> bool:
    """Whether a report's digest is that of its values, numbers written as there or canonically."""
    return config.digest in (digest_of(config.values), _digest(config.values, _as_json))


def _digest(values: Iterable[ParameterSetting], write: Callable[[ParameterValue], str]) -> str:
    lines = sorted(f"{item.module}.{item.parameter}={write(item.value)}" for item in values)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _canonical(value: ParameterValue) -> str:
    return canonical_number(value) if isinstance(value, float) else _as_json(value)


def _as_json(value: ParameterValue) -> str:
    return json.dumps(value, ensure_ascii=False)
