"""Bodies of the service routes."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from api.billing.schemas import MoneyOut
from api.identity.schemas import CamelModel
from api.services.rules import Tier
from core.contracts.states import ActivationState, PaymentState


class PriceOut(CamelModel):
    tier: Tier
    duration_days: int | None
    price: MoneyOut


class ServiceOut(CamelModel):
    service_id: UUID
    code: str
    name: str
    category: str
    description: str
    requires_maintenance: bool
    min_firmware: str | None
    prices: list[PriceOut]


class OccupiedOut(CamelModel):
    since: datetime
    until: datetime | None


class CatalogueEntry(ServiceOut):
    """``maintenance.state``: NOT_NEEDED, OK, CHECKED_AT_PURCHASE or BLOCKED with what is due."""

    purchasable: bool
    reason: str | None
    maintenance: dict[str, Any]
    occupied: list[OccupiedOut]


class CatalogueOut(CamelModel):
    vin: str
    platform: str
    firmware: str
    services: list[CatalogueEntry]


class ScheduleKind(StrEnum):
    IMMEDIATE = "IMMEDIATE"
    FUTURE = "FUTURE"
    RECURRING = "RECURRING"


class ScheduleIn(CamelModel):
    """When it starts; ``startsAt`` only with FUTURE."""

    type: ScheduleKind = ScheduleKind.IMMEDIATE
    starts_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _fits(self) -> "ScheduleIn":
        if (self.type is ScheduleKind.FUTURE) != (self.starts_at is not None):
            raise ValueError("FUTURE, and only FUTURE, has startsAt")
        return self


class PurchaseIn(CamelModel):
    """``serviceId`` is the service's id or its code."""

    vin: str = Field(min_length=17, max_length=17)
    service_id: Annotated[str, StringConstraints(strip_whitespace=True, max_length=64)]
    tier: Tier
    schedule: ScheduleIn = ScheduleIn()
    payment_token: str = Field(min_length=1, max_length=200, repr=False)


class PurchaseOut(CamelModel):
    activation_id: UUID
    state: ActivationState


class CancelReason(StrEnum):
    DISSATISFACTION = "DISSATISFACTION"
    NOT_NEEDED = "NOT_NEEDED"
    TECHNICAL_FAILURE = "TECHNICAL_FAILURE"
    THEFT = "THEFT"
    OTHER = "OTHER"


class CancelIn(CamelModel):
    reason: CancelReason | None = None


class CancelOut(CamelModel):
    eligibility: Literal["ELIGIBLE", "INELIGIBLE"]
    refund_amount: MoneyOut


class AttemptOut(CamelModel):
    direction: str
    attempt_number: int
    started_at: datetime
    ended_at: datetime | None
    response_code: str | None
    response_message: str | None
    result: str | None


class HistoryOut(CamelModel):
    at: datetime
    from_state: str
    event: str
    to_state: str
    cause: str | None
    actor: str


class ActivationOut(CamelModel):
    """One bought or planned service and how far it is."""

    activation_id: UUID
    vin: str
    service_code: str
    state: ActivationState
    origin: str
    tier: Tier | None
    duration_days: int | None
    price: MoneyOut | None
    starts_at: datetime | None
    purchased_at: datetime
    queued_at: datetime | None
    activated_at: datetime | None
    expires_at: datetime | None
    cancelled_at: datetime | None
    total_attempts: int
    ticket_number: str | None
    final_result: str | None
    charged: bool
    reason: str | None
    payment_id: UUID | None
    payment_state: PaymentState | None
    refusal: dict[str, Any] | None
    switch_off_state: str | None
    attempts: list[AttemptOut]
    history: list[HistoryOut]


class ActivationSummary(CamelModel):
    activation_id: UUID
    vin: str
    service_code: str
    state: ActivationState
    origin: str
    purchased_at: datetime
    activated_at: datetime | None
    expires_at: datetime | None


class ActivationsOut(CamelModel):
    activations: list[ActivationSummary]
