"""What the IoT API says of a vehicle: status, health, diagnostics, history (DOMAIN 8 and 9)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from core.contracts.iot_api import (
    ActiveServiceView,
    CommandStatus,
    CommandView,
    Configuration,
    Connectivity,
    DiagnosticsReport,
    DiagnosticsView,
    ErrorCodeView,
    HealthView,
    History,
    HistoryEntry,
    StatusView,
)
from core.db import Connection, load_queries
from core.errors import NotFound
from gateway.iot_api.trouble_codes import text_of

QUERIES = load_queries("gateway.iot_api")
HISTORY_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class VehicleRow:
    """An enrolled vehicle with its last reports (`gateway.vehicle_v1`)."""

    vin: str
    model: str
    firmware: str
    presence: str
    last_seen_at: datetime | None
    operational: str | None
    signal_pct: float | None
    status: dict[str, Any] | None
    reported_values: list[dict[str, Any]] | None
    reported_seq: int | None
    reported_at: datetime | None


@dataclass(frozen=True, slots=True)
class HistoryRow:
    command_id: UUID
    request_id: str
    status: str
    timestamp: datetime
    error_code: str | None
    completed_at: datetime | None
    service_id: str | None
    values: list[dict[str, Any]] | None
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class _Event:
    at: datetime
    type: str
    code: str | None
    detail: str | None


async def find_vehicle(conn: Connection, vin: str) -> VehicleRow:
    """An enrolled vehicle; NotFound."""
    found = await conn.one_or_none(VehicleRow, QUERIES["vehicle"], {"vin": vin})
    if found is None:
        raise NotFound("UNKNOWN_VIN", f"the registry does not know the vehicle {vin}")
    return found


def status_view(vehicle: VehicleRow) -> StatusView:
    """VehicleStatus of DOMAIN 8, and the reported configuration."""
    status = vehicle.status or {}
    return StatusView(
        vin=vehicle.vin,
        connectivity=Connectivity(vehicle.presence),
        last_seen=vehicle.last_seen_at,
        active_services=[
            ActiveServiceView.model_validate(
                {
                    "serviceId": item["service"],
                    "activationDate": item["since"],
                    "status": item["state"],
                }
            )
            for item in status.get("active_services", [])
        ],
        diagnostics=DiagnosticsView(
            error_codes=status.get("error_codes", []),
            firmware_version=vehicle.firmware,
            network_signal_strength=vehicle.signal_pct,
        ),
        operational=vehicle.operational,  # pyright: ignore[reportArgumentType] - validated
        model=vehicle.model,
        reported_configuration=None
        if vehicle.reported_values is None
        else _by_name(vehicle.reported_values),
        reported_at=vehicle.reported_at,
    )


def health_view(vehicle: VehicleRow) -> HealthView:
    """Whether it can be reached, and how well."""
    status = vehicle.status or {}
    return HealthView(
        reachable=vehicle.presence != Connectivity.OFFLINE,
        last_seen=vehicle.last_seen_at,
        network_signal_strength=vehicle.signal_pct,
        latency_ms=status.get("latency_ms"),
        packet_loss=status.get("packet_loss_pct"),
    )


async def diagnostics(conn: Connection, vehicle: VehicleRow) -> DiagnosticsReport:
    """Trouble codes with their texts, network, and the newest events."""
    status = vehicle.status or {}
    events: list[_Event] = []
    # The telemetry may live on another server.
    if await conn.value(QUERIES["has_events"]):
        events = await conn.all(_Event, QUERIES["events"], {"vin": vehicle.vin})
    return DiagnosticsReport(
        error_codes=[
            ErrorCodeView(code=code, text=text_of(code)) for code in status.get("error_codes", [])
        ],
        firmware_version=vehicle.firmware,
        network_signal_strength=vehicle.signal_pct,
        latency_ms=status.get("latency_ms"),
        packet_loss=status.get("packet_loss_pct"),
        vehicle_log=[
            {"at": event.at, "type": event.type, "code": event.code, "detail": event.detail}
            for event in events
        ],
    )


async def history(conn: Connection, vin: str, now: datetime, complete_s: float) -> History:
    """The newest configuration commands of both doors, at most a thousand."""
    rows = await _history(conn, vin, now, complete_s, None)
    return History(commands=[_entry(row) for row in rows])


async def command_view(
    conn: Connection, vin: str, command_id: UUID, now: datetime, complete_s: float
) -> CommandView:
    """One configuration command; NotFound."""
    rows = await _history(conn, vin, now, complete_s, command_id)
    if not rows:
        raise NotFound("UNKNOWN_COMMAND", f"{vin} has no command {command_id}")
    entry = _entry(rows[0])
    return CommandView.model_validate(entry.model_dump(include=set(CommandView.model_fields)))


async def _history(
    conn: Connection, vin: str, now: datetime, complete_s: float, command_id: UUID | None
) -> list[HistoryRow]:
    params = {
        "vin": vin,
        "command_id": command_id,
        "late": now - timedelta(seconds=complete_s),
        "limit": HISTORY_LIMIT,
    }
    return await conn.all(HistoryRow, QUERIES["history"], params)


def _entry(row: HistoryRow) -> HistoryEntry:
    return HistoryEntry(
        command_id=row.command_id,
        request_id=row.request_id,
        status=CommandStatus(row.status),
        timestamp=row.timestamp,
        error_code=row.error_code if row.status == CommandStatus.FAILED else None,
        completed_at=row.completed_at,
        service_id=row.service_id,
        configuration=Configuration(parameters=_by_name(row.values or [])),
        requested_at=row.requested_at,
    )


def _by_name(values: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"{item['module']}.{item['parameter']}": item["value"] for item in values}
