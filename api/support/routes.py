"""/support: tickets, one more try by hand, a vehicle's timeline (DOMAIN 16)."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api.deps import Deps
from api.identity.deps import SupportCaller
from api.support import service
from api.support.schemas import (
    ConfigurationOut,
    ConnectivityOut,
    RetryOut,
    TicketOut,
    TicketsOut,
    TicketSummary,
    TimelineEntry,
    TimelineOut,
)
from core.contracts.states import TicketState
from core.ids import parse_vin

router = APIRouter(prefix="/support", tags=["support"])

Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/tickets")
async def list_tickets(
    _caller: SupportCaller,
    deps: Deps,
    state: TicketState | None = None,
    vin: str | None = None,
    limit: Limit = 200,
) -> TicketsOut:
    """Tickets, high priority and newest first."""
    async with deps.database.transaction() as conn:
        rows = await service.tickets(
            conn, state=state, vin=parse_vin(vin) if vin else None, limit=limit
        )
    return TicketsOut(tickets=[TicketSummary.model_validate(row) for row in rows])


@router.get("/tickets/{ticket_id}")
async def read_ticket(ticket_id: str, _caller: SupportCaller, deps: Deps) -> TicketOut:
    """One ticket with its case, by id or number."""
    async with deps.database.transaction() as conn:
        return TicketOut.model_validate(await service.ticket(conn, ticket_id))


@router.post("/activations/{activation_id}/retry", status_code=202)
async def retry(activation_id: UUID, caller: SupportCaller, deps: Deps) -> RetryOut:
    """Try a failed activation once more; 409 unless its ticket is open."""
    async with deps.database.transaction() as conn:
        number = await service.retry(conn, activation_id, caller.actor)
    return RetryOut(activation_id=activation_id, ticket_number=number)


@router.get("/vehicles/{vin}/timeline")
async def timeline(
    vin: str,
    _caller: SupportCaller,
    deps: Deps,
    days: Annotated[int, Query(ge=1, le=366)] = 30,
    limit: Limit = 500,
) -> TimelineOut:
    """What happened to a car, newest first."""
    found = parse_vin(vin)
    since = deps.clock.now() - timedelta(days=days)
    async with deps.database.transaction() as conn:
        rows = await service.timeline(conn, found, since=since, limit=limit)
    return TimelineOut(vin=found, entries=[TimelineEntry.model_validate(row) for row in rows])


@router.get("/vehicles/{vin}/configuration")
async def configuration(
    vin: str, _caller: SupportCaller, deps: Deps, drifts: Limit = 20
) -> ConfigurationOut:
    """What is wanted of a car, what it reports, the difference, and its drifts, newest first."""
    found = parse_vin(vin)
    async with deps.database.transaction() as conn:
        row = await service.configuration(conn, found, deps.clock.now(), drifts)
    return ConfigurationOut.model_validate(row)


@router.get("/vehicles/{vin}/connectivity")
async def connectivity(
    vin: str,
    _caller: SupportCaller,
    deps: Deps,
    days: Annotated[int, Query(ge=1, le=366)] = 30,
    limit: Limit = 500,
) -> ConnectivityOut:
    """A car's presence, and what it did, newest first."""
    found, now = parse_vin(vin), deps.clock.now()
    since = now - timedelta(days=days)
    async with deps.database.transaction() as conn:
        row = await service.connectivity(conn, found, since=since, now=now, limit=limit)
    return ConnectivityOut.model_validate(row)
