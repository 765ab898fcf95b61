"""Between the IoT API's bodies and the bus's messages: pure, both ways (DOMAIN 8, 9; BUS)."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid5

import msgspec

from core.contracts.bus import (
    EPOCH,
    LAST_MOMENT,
    MAX_AHEAD,
    ActiveService,
    Command,
    Operational,
    ParameterSetting,
    ParameterValue,
    Presence,
    PresenceMessage,
    ReportedConfig,
    ServiceState,
    Unusable,
    VehicleEvent,
    VehicleStatus,
    check_time,
    decode,
    digest_of,
    encode,
)
from core.contracts.iot_api import (
    PARAMETER_NAME,
    Configuration,
    ConfigureRequest,
    Connectivity,
    DiagnosticsReport,
    Duration,
    DurationType,
    HealthView,
    StatusView,
)

# Where the API gives no strength of the signal, connectivity says this much of it.
_SIGNAL = {Connectivity.ONLINE: 100.0, Connectivity.LIMITED: 10.0, Connectivity.OFFLINE: 0.0}
# A command of no service (a correction) still needs a name in the API's body.
NO_SERVICE = "CONFIGURATION"

_NAME = re.compile(PARAMETER_NAME.rstrip("$"))
_MAX_CODE, _MAX_DETAIL = 200, 2000

Values = dict[str, ParameterValue]


@dataclass(frozen=True, slots=True)
class Seen:
    """What has been said on the bus for a vehicle, and what is known of it."""

    model: str
    firmware: str
    applied_seq: int
    values: Values | None
    values_at: datetime | None
    config_digest: str | None
    online: bool
    session: str | None
    boot: int
    status: dict[str, Any] | None
    status_at: datetime | None
    quiet_until: datetime | None


# The space of the ids that events of a vehicle log get (RFC 9562, UUIDv5).
_EVENTS = UUID("6f2d8f1e-5f0a-5f65-9a53-0d6cf0b1a7a4")
Upward = PresenceMessage | ReportedConfig | VehicleStatus


def order_of(command: Command) -> ConfigureRequest:
    """The configure body of a command: values by name, and how long they are to last."""
    temporary = command.valid_until is not None
    return ConfigureRequest(
        vin=command.vin,
        service_id=command.service or NO_SERVICE,
        configuration=Configuration(
            parameters={f"{item.module}.{item.parameter}": item.value for item in command.values}
        ),
        duration=Duration(
            type=DurationType.TEMPORARY if temporary else DurationType.PERMANENT,
            expiry_date=command.valid_until,
        ),
    )


def learn(seen: Seen, status: StatusView, defaults: Values, now: datetime) -> Seen:
    """``seen`` with what the API reports of the configuration, firmware and model.

    Where it reports none, the values are those known from completed commands over the firmware's
    defaults: that is inferred, and dated when it was learnt, so it proves nothing about today.
    """
    learnt = replace(
        seen,
        firmware=status.diagnostics.firmware_version or seen.firmware,
        model=status.model or seen.model,
    )
    reported = status.reported_configuration
    if reported is None:
        known = seen.values if seen.values is not None else defaults
        return replace(learnt, values=known, values_at=seen.values_at or now)
    at = status.reported_at or status.last_seen or now
    # No command of ours can name another one, nor change it (S2).
    values: Values = {name: value for name, value in reported.items() if _NAME.fullmatch(name)}
    # A report of no time that can be is an old one: it proves nothing about today.
    return replace(learnt, values=values, values_at=min(max(at, EPOCH), now + MAX_AHEAD))


def shows(values: Mapping[str, ParameterValue] | None, wanted: Sequence[ParameterSetting]) -> bool:
    """Whether ``values`` have all that is wanted; as JSON values: true is not 1."""
    for item in wanted:
        value = (values or {}).get(f"{item.module}.{item.parameter}")
        if value is None or isinstance(value, bool) != isinstance(item.value, bool):
            return False
        if value != item.value:
            return False
    return True


def contradicts(status: StatusView, command: Command) -> bool:
    """Whether the API's status denies its own word that a command is done."""
    unlike = {"PENDING", "ERROR"}
    return any(
        item.service_id == command.service and item.status in unlike
        for item in status.active_services
    )


def with_applied(
    seen: Seen, command: Command, at: datetime, set_since: Collection[str] = ()
) -> Seen:
    """``seen`` after a command is in effect, for an API that does not report the values.

    COMPLETED means there that the reported configuration matches (DOMAIN 7, Command states), which
    is the only proof such an API has. ``set_since``: parameters that later commands have set.
    """
    values = dict(seen.values or {})
    for item in command.values:
        name = f"{item.module}.{item.parameter}"
        if name not in set_since:
            values[name] = item.value
    return replace(seen, values=values, values_at=at)


def config_of(seen: Seen) -> ReportedConfig:
    """The configuration as the vehicle itself would report it (BUS, ReportedConfig)."""
    assert seen.values_at is not None
    settings = [
        ParameterSetting(name.partition(".")[0], name.partition(".")[2], value)
        for name, value in sorted((seen.values or {}).items())
    ]
    return ReportedConfig(
        at=seen.values_at,
        seq=seen.applied_seq,
        firmware=seen.firmware,
        model=seen.model,
        values=settings,
        digest=digest_of(settings),
    )


def status_of(status: StatusView, health: HealthView | None, now: datetime) -> VehicleStatus:
    """The vehicle's status as it would say it (BUS, VehicleStatus)."""
    signal = status.diagnostics.network_signal_strength
    if signal is None and health is not None:
        signal = health.network_signal_strength
    if signal is None:
        signal = _SIGNAL[status.connectivity]
    return VehicleStatus(
        at=now,
        # Unknown: the API itself keeps a command for the safe state it needs.
        operational=Operational(status.operational or "PARKED"),
        firmware=status.diagnostics.firmware_version,
        signal_pct=_percent(signal),
        error_codes=list(status.diagnostics.error_codes),
        latency_ms=None if health is None else health.latency_ms,
        packet_loss_pct=None
        if health is None or health.packet_loss is None
        else _percent(health.packet_loss),
        active_services=[
            ActiveService(
                item.service_id,
                min(max(item.activation_date, EPOCH), LAST_MOMENT),
                ServiceState(item.status),
            )
            for item in status.active_services
        ],
    )


def fault_of(
    seen: Seen, status: StatusView, health: HealthView | None, now: datetime
) -> str | None:
    """What makes a status one that the bus could not carry (BUS, last section); None = nothing."""
    try:
        config = config_of(learn(seen, status, {}, now))
        check_time(decode(ReportedConfig, encode(config)).at, now)
        decode(VehicleStatus, encode(status_of(status, health, now)))
    except (ValueError, OverflowError, Unusable) as error:
        return str(error)
    return None


def reachable(status: StatusView, health: HealthView | None) -> bool:
    """Whether the vehicle is there."""
    if health is not None:
        return health.reachable
    return status.connectivity is not Connectivity.OFFLINE


def observe(
    seen: Seen,
    status: StatusView,
    health: HealthView | None,
    *,
    now: datetime,
    session: str,
    alive_every: timedelta,
    asked: bool = False,
) -> tuple[Seen, list[Upward]]:
    """What a look at the vehicle makes the bus hear; ``seen`` has learnt from it already.

    ``session``: the name of a new connection, should this be one. ``asked``: by a QUERY, which is
    answered with configuration and status whether they changed or not.
    """
    if not reachable(status, health):
        if not seen.online:
            return seen, []
        gone = replace(seen, online=False)
        return gone, [_presence(gone, Presence.OFFLINE, now)]
    out: list[Upward] = []
    connects = not seen.online
    if connects:
        seen = replace(seen, online=True, session=session, boot=seen.boot + 1)
        out.append(_presence(seen, Presence.ONLINE, now))
    config = config_of(seen)
    if connects or asked or config.digest != seen.config_digest:
        out.append(config)
        seen = replace(seen, config_digest=config.digest)
    message = status_of(status, health, now)
    said: dict[str, Any] = msgspec.to_builtins(message)
    if connects or asked or _worth_saying(seen, said, now, alive_every):
        out.append(message)
        over = seen.quiet_until is None or now >= seen.quiet_until
        quiet_until = None if over else seen.quiet_until
        seen = replace(seen, status=said, status_at=now, quiet_until=quiet_until)
    elif seen.status_at is not None and now - seen.status_at >= alive_every:
        # The status has to wait, but silence would make the vehicle OFFLINE.
        out.append(_presence(seen, Presence.ONLINE, now))
    return seen, out


def events_since(
    vin: str, report: DiagnosticsReport, since: datetime, now: datetime
) -> list[VehicleEvent]:
    """What the vehicle log has since then, oldest first; entries of no known type are left.

    The log gives events no id, so one is made of what they are: it dedupes (BUS, VehicleEvent).
    """
    events: list[VehicleEvent] = []
    for entry in report.vehicle_log:
        named = {name: entry.get(name) for name in ("at", "type", "code", "detail")}
        event_id = uuid5(_EVENTS, json.dumps([vin, named], sort_keys=True, default=str))
        try:
            event = msgspec.convert({**named, "event_id": str(event_id)}, VehicleEvent)
        except msgspec.ValidationError:
            continue
        if since <= event.at <= now + MAX_AHEAD:
            events.append(_shortened(event))
    return sorted(events, key=lambda event: event.at)


def _shortened(event: VehicleEvent) -> VehicleEvent:
    code, detail = event.code, event.detail
    return msgspec.structs.replace(
        event,
        code=None if code is None else code[:_MAX_CODE],
        detail=None if detail is None else detail[:_MAX_DETAIL],
    )


def defaults_of(
    capabilities: Sequence[Mapping[str, Any]], mappings: Sequence[Mapping[str, Any]]
) -> Values:
    """What a new vehicle has: each parameter the firmware knows, at its off value (DOMAIN 4)."""
    off: dict[str, ParameterValue] = {}
    for row in mappings:
        for item in row["settings"]:
            off[f"{item['module']}.{item['parameter']}"] = item["off_value"]
    values: Values = {}
    for row in capabilities:
        name = f"{row['module']}.{row['parameter']}"
        allowed = cast("list[ParameterValue]", row["allowed"])
        values[name] = off.get(name, allowed[0] if allowed else False)
    return values


def _worth_saying(seen: Seen, said: dict[str, Any], now: datetime, alive_every: timedelta) -> bool:
    if seen.quiet_until is not None:
        # Said once the wait is over, changed or not: that is what the engine waits for.
        return now >= seen.quiet_until
    if seen.status is None or seen.status_at is None or now - seen.status_at >= alive_every:
        return True
    return _lasting(seen.status) != _lasting(said)


def _lasting(status: Mapping[str, Any]) -> dict[str, Any]:
    """Without what differs at every look."""
    passing = {"at", "signal_pct", "latency_ms", "packet_loss_pct"}
    lasting = {name: value for name, value in status.items() if name not in passing}
    # Across the limit of LIMITED it matters.
    return {**lasting, "weak": status.get("signal_pct", 100.0) < _WEAK}


_WEAK = 20.0


def _presence(seen: Seen, state: Presence, now: datetime) -> PresenceMessage:
    assert seen.session is not None
    return PresenceMessage(state=state, at=now, session=seen.session, boot=seen.boot)


def _percent(value: float) -> float:
    return min(100.0, max(0.0, value))
