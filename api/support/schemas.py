"""Bodies of the support routes."""

from datetime import datetime
from typing import Any
from uuid import UUID

from api.identity.schemas import CamelModel


class TicketSummary(CamelModel):
    ticket_id: UUID
    number: str
    activation_id: UUID | None  # null: of a drift
    drift_id: UUID | None
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


class WantedOut(CamelModel):
    """What a parameter is to be; from ``until`` on ``revert``."""

    module: str
    parameter: str
    value: bool | int | float | str
    until: datetime | None = None
    revert: bool | int | float | str | None = None


class ReportedOut(CamelModel):
    module: str
    parameter: str
    value: bool | int | float | str


class DifferenceOut(CamelModel):
    """``reported`` null: the vehicle does not report the parameter."""

    module: str
    parameter: str
    wanted: bool | int | float | str
    reported: bool | int | float | str | None = None


class DriftDifferenceOut(CamelModel):
    """Of cause NOT_MANAGED ``before`` (what it was the report before), else ``wanted``."""

    module: str
    parameter: str
    wanted: bool | int | float | str | None = None
    before: bool | int | float | str | None = None
    reported: bool | int | float | str | None = None


class DriftOut(CamelModel):
    drift_id: UUID
    opened_at: datetime
    cause: str
    state: str
    difference: list[DriftDifferenceOut]
    rounds: int
    reason: str | None
    ticket_number: str | None
    closed_at: datetime | None
    ended: str | None


class ConfigurationOut(CamelModel):
    """``version`` null: nothing is wanted of the vehicle yet; ``reportedAt`` null: no report."""

    vin: str
    model: str
    firmware: str
    version: int | None
    changed_at: datetime | None
    cause: str | None
    wanted: list[WantedOut]
    reported_at: datetime | None
    reported_seq: int | None
    reported: list[ReportedOut]
    difference: list[DifferenceOut]
    drifts: list[DriftOut]


class ConnectivityEntry(CamelModel):
    """A change of presence; ``reason`` FLAP stands for ``flaps`` short outages up to ``until``."""

    at: datetime
    until: datetime | None
    from_presence: str
    to_presence: str
    reason: str
    flaps: int


class ConnectivityOut(CamelModel):
    vin: str
    presence: str
    since: datetime | None
    reason: str | None
    unstable: bool
    flaps: int
    last_flap_at: datetime | None
    entries: list[ConnectivityEntry]
