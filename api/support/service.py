"""What support staff look at and may order: tickets, timeline, one more try (DOMAIN 7, 19)."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from core.contracts.bus import ParameterSetting
from core.contracts.jobs import RetryActivation
from core.contracts.states import ActivationState
from core.contracts.wanted import differences, parse_wanted
from core.db import Connection, load_queries
from core.errors import Conflict, NotFound
from core.jobs import defer

SQL = load_queries("api.support")


async def tickets(
    conn: Connection, *, state: str | None, vin: str | None, limit: int
) -> list[dict[str, Any]]:
    """Tickets, high priority and newest first."""
    return await conn.dicts(SQL["tickets"], {"state": state, "vin": vin, "limit": limit})


async def ticket(conn: Connection, ticket_id: str) -> dict[str, Any]:
    """One ticket by its id or number, else NotFound."""
    found = await conn.dicts(SQL["ticket"], {"ticket": ticket_id})
    if not found:
        raise NotFound("TICKET_NOT_FOUND", "no such ticket")
    return found[0]


async def retry(conn: Connection, activation_id: UUID, actor: str) -> str:
    """Order one more try of a failed activation with an open ticket; the ticket's number."""
    row = {"activation_id": activation_id}
    state: str | None = await conn.value(SQL["activation_state"], row)
    if state is None:
        raise NotFound("ACTIVATION_NOT_FOUND", "no such activation")
    number: str | None = await conn.value(SQL["open_ticket"], row)
    if state != ActivationState.FAILED_NO_CHARGE or number is None:
        raise Conflict(
            "NOT_RETRYABLE",
            "only a failed activation with an open ticket can be tried by hand",
            details={"state": state},
        )
    await defer(conn, RetryActivation(activation_id=activation_id, actor=actor))
    return number


async def timeline(
    conn: Connection, vin: str, *, since: datetime, limit: int
) -> list[dict[str, Any]]:
    """All that happened to a car, newest first: activations, attempts, commands, its events."""
    row = {"vin": vin, "since": since, "limit": limit}
    entries = await conn.dicts(SQL["timeline"], row)
    # Telemetry may live on another server; then its events are Grafana's alone.
    if await conn.value(SQL["has_telemetry"]):
        entries += await conn.dicts(SQL["telemetry_events"], row)
    entries.sort(key=lambda entry: entry["at"], reverse=True)
    return entries[:limit]


async def configuration(conn: Connection, vin: str, now: datetime, limit: int) -> dict[str, Any]:
    """What is wanted of a car, what it reports, the difference, its drifts; else NotFound."""
    found = await conn.dicts(SQL["configuration"], {"vin": vin})
    if not found:
        raise NotFound("VEHICLE_NOT_FOUND", "the registry does not know this vehicle")
    row = found[0]
    wanted = parse_wanted(row["wanted_values"])
    reported = msgspec.convert(row["reported_values"] or [], list[ParameterSetting])
    difference = differences(wanted, reported, now) if row["reported_at"] is not None else []
    shown = {key: row[key] for key in row if not key.endswith("_values")}
    return {
        **shown,
        "wanted": [msgspec.structs.asdict(item) for item in wanted],
        "reported": [msgspec.structs.asdict(item) for item in reported],
        "difference": [msgspec.structs.asdict(item) for item in difference],
        "drifts": await conn.dicts(SQL["drifts"], {"vin": vin, "limit": limit}),
    }


async def connectivity(
    conn: Connection, vin: str, *, since: datetime, now: datetime, limit: int
) -> dict[str, Any]:
    """A car's presence, and what it did, newest first; else NotFound."""
    found = await conn.dicts(SQL["connection"], {"vin": vin, "now": now})
    if not found:
        raise NotFound("VEHICLE_NOT_FOUND", "the registry does not know this vehicle")
    row = {"vin": vin, "since": since, "limit": limit}
    return {**found[0], "entries": await conn.dicts(SQL["connectivity"], row)}
