"""Bodies of the support routes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from api.identity.schemas import CamelModel


class TicketSummary(CamelModel):
    ticket_id: UUID
    number: str
    activation_id: UUID
    vin: str
    customer_id: UUID | None
    service_code: str
    payment_id: UUID | None
    kind: str
    priority: str
    state: str
    error_code: str | None
    error_message: str | None
    first_contact_due: datetime
    resolution_due: datetime
    created_at: datetime
    updated_at: datetime


class TicketOut(TicketSummary):
    """With the whole case: attempts, vehicle snapshot, payload tried."""

    package: dict[str, Any]


class TicketsOut(CamelModel):
    tickets: list[TicketSummary]


class RetryOut(CamelModel):
    activation_id: UUID
    ticket_number: str
    accepted: bool = True


class TimelineEntry(CamelModel):
    """``kind``: activation, attempt, command or event."""

    at: datetime
    kind: str
    what: str
    detail: dict[str, Any]


class TimelineOut(CamelModel):
    vin: str
    entries: list[TimelineEntry]
