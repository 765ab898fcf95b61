"""What support staff look at and may order: tickets, timeline, one more try (DOMAIN 7, 19)."""

from datetime import datetime
from typing import Any
from uuid import UUID

from core.contracts.jobs import RetryActivation
from core.contracts.states import ActivationState
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
