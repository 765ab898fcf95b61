"""Which values a configure request means, and whether the vehicle can have them (DOMAIN 7, 9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.contracts.bus import ParameterSetting, ParameterValue
from core.contracts.iot_api import Configuration, ConfigureRequest, DurationType
from core.contracts.states import ActivationState
from core.contracts.values import same_value
from core.errors import Conflict, Invalid

# A customer has it, or is to get it: delivery is under way or may still be proved (DOMAIN 6).
IN_USE = (
    ActivationState.QUEUED,
    ActivationState.ATTEMPTING,
    ActivationState.WAITING_SAFE_STATE,
    ActivationState.RETRY_SCHEDULED,
    ActivationState.ESCALATED,
    ActivationState.MANUAL_ATTEMPT,
    ActivationState.ACTIVE,
    ActivationState.CANCELLED_NO_REFUND,
)


@dataclass(frozen=True, slots=True)
class Capability:
    """An optional parameter the firmware knows, and its allowed values."""

    module: str
    parameter: str
    allowed: list[Any]


@dataclass(frozen=True, slots=True)
class InUse:
    """A parameter of a service that a customer uses."""

    service: str
    module: str
    parameter: str


@dataclass(frozen=True, slots=True)
class Values:
    """What to set, and to what it goes back at the end of a limited time."""

    wanted: list[ParameterSetting]
    revert: list[ParameterSetting]


def resolve(
    request: ConfigureRequest,
    mapping: Sequence[Mapping[str, Any]],
    capabilities: Sequence[Capability],
) -> Values:
    """The request's values; Invalid where the service, the firmware or the values forbid it.

    Built from the service's mapping only (DOMAIN 7): a parameter that is not in it is unknown here,
    and base parameters are in none (S2).
    """
    known = {f"{item['module']}.{item['parameter']}": item for item in mapping}
    named = _named(request.configuration)
    for name in named:
        if name not in known:
            raise Invalid("UNKNOWN_PARAMETER", f"{request.service_id} has no parameter {name}")
    if not named:
        named = {name: item["on_value"] for name, item in known.items()}
    allowed = {f"{item.module}.{item.parameter}": item.allowed for item in capabilities}
    for name, value in named.items():
        if name not in allowed:
            raise Invalid("INCOMPATIBLE", f"the vehicle's firmware does not know {name}")
        if not any(same_value(value, possible) for possible in allowed[name]):
            raise Invalid("INVALID_VALUE", f"{name} does not take {value!r}")
    return Values(
        [_setting(known[name], value) for name, value in named.items()],
        [_setting(known[name], known[name]["off_value"]) for name in named],
    )


def check_free(wanted: Sequence[ParameterSetting], in_use: Sequence[InUse]) -> None:
    """Conflict where a parameter is part of a service that a customer of ours uses.

    Whatever the value: one would revoke what is paid for (S3), the other would end with this order
    (the vehicle keeps one end a parameter, the newest).
    """
    taken = {(item.module, item.parameter): item.service for item in in_use}
    for item in wanted:
        service = taken.get((item.module, item.parameter))
        if service is not None:
            name = f"{item.module}.{item.parameter}"
            raise Conflict(
                "SERVICE_IN_USE", f"{name} belongs to {service}, which a customer is using"
            )


def end_of(request: ConfigureRequest, now: datetime) -> datetime | None:
    """When the vehicle is to end it by itself; Invalid where the duration makes no sense."""
    duration = request.duration
    if duration.type is not DurationType.TEMPORARY:
        if duration.expiry_date is not None:
            raise Invalid("INVALID_DURATION", "only TEMPORARY has an expiryDate")
        return None
    if duration.expiry_date is None or duration.expiry_date <= now:
        raise Invalid("INVALID_DURATION", "TEMPORARY needs an expiryDate in the future")
    return duration.expiry_date


def _named(configuration: Configuration) -> dict[str, ParameterValue]:
    named: dict[str, ParameterValue] = dict.fromkeys(configuration.feature_flags, True)
    for name, value in configuration.parameters.items():
        if name in named:
            raise Invalid("INVALID_VALUE", f"{name} is given twice")
        named[name] = value
    return named


def _setting(item: Mapping[str, Any], value: ParameterValue) -> ParameterSetting:
    return ParameterSetting(item["module"], item["parameter"], value)
