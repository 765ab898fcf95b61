"""Bodies of the sale's routes."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from api.customers.schemas import AddressBody, CustomerIn, Text
from api.identity.schemas import CamelModel
from api.orders.lifecycle import DeliveryState, OrderState, RegistrationState
from api.orders.rules import DeliveryAction
from core.contracts.states import PaymentState

OptionCode = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{1,63}$")]
Note = Annotated[str, StringConstraints(max_length=2000)]


class Discounts(CamelModel):
    """Percent off the vehicle, and off services bought later (DOMAIN 4)."""

    vehicle_percent: Decimal = Field(Decimal(0), ge=0, le=50, decimal_places=2)
    services_percent: Decimal = Field(Decimal(0), ge=0, le=100, decimal_places=2)


def no_discounts() -> Discounts:
    """The plan's discounts where none are agreed."""
    return Discounts.model_validate({})


class PlanIn(CamelModel):
    """The commercial plan; frozen once the sale is saved."""

    initial_options: list[OptionCode] = Field([], max_length=50)
    permanent_options: list[OptionCode] = Field([], max_length=50)
    color: Text
    interior: Text
    maintenance_included: bool = False
    maintenance_years: int = Field(0, ge=0, le=15)
    warranty_years: int = Field(3, ge=0, le=20)
    discounts: Discounts = Field(default_factory=no_discounts)


class OrderIn(CamelModel):
    customer: CustomerIn | None = None
    customer_id: UUID | None = None
    platform: Text
    plan: PlanIn
    delivery_address: AddressBody
    financing_notes: Note = ""
    # Sells this vehicle of the dealership's stock instead of ordering one.
    stock_vin: str | None = Field(None, min_length=17, max_length=17)

    @model_validator(mode="after")
    def _one_customer(self) -> "OrderIn":
        if (self.customer is None) == (self.customer_id is None):
            raise ValueError("give either customer or customerId")
        return self


class OrderOut(CamelModel):
    order_id: UUID
    number: str
    status: OrderState
    customer_id: UUID
    dealership_id: UUID
    platform: str
    plan: dict[str, Any]
    # Amounts are whole minor units (cents).
    total_minor: int
    deposit_minor: int
    balance_minor: int
    currency: str
    payment_complete: bool
    due_at: datetime | None
    vin: str | None
    license_plate: str | None
    registration_state: RegistrationState | None
    delivery_state: DeliveryState | None
    factory_order_id: str | None
    factory_status: str | None
    factory_error: str | None
    estimated_delivery_date: date | None
    manufacturing_location: str | None
    delivery_address: dict[str, str]
    ordered_at: datetime
    handed_over_at: datetime | None


class PaymentType(StrEnum):
    RESERVATION = "RESERVATION"
    FINAL = "FINAL"


class PaymentMethod(StrEnum):
    ONLINE = "ONLINE"
    DEALERSHIP = "DEALERSHIP"


class PaymentIn(CamelModel):
    type: PaymentType
    payment_token: str = Field(min_length=1, max_length=200, repr=False)
    method: PaymentMethod = PaymentMethod.ONLINE


class FinalPaymentIn(CamelModel):
    payment_token: str = Field(min_length=1, max_length=200, repr=False)


class PaymentOut(CamelModel):
    payment_id: UUID
    state: PaymentState
    error_code: str | None
    order_status: OrderState


class TimelineItem(CamelModel):
    at: datetime
    kind: str
    status: str
    event: str | None = None
    notes: str | None = None
    location: str | None = None
    estimated_completion_date: date | None = None


class TimelineOut(CamelModel):
    order_id: UUID
    items: list[TimelineItem]


class ResubmitIn(CamelModel):
    """``giveUp``: the factory's no is definitive; the deposit goes back."""

    give_up: bool = False
    reason: Note = ""


class RegistrationRetryIn(CamelModel):
    tax_id: Text | None = None
    tuv_reference: Text | None = None
    regional_office: Text | None = None
    # The authority will never register it: the sale ends and everything paid goes back.
    impossible: bool = False


class DeliveryIn(CamelModel):
    action: DeliveryAction
    transport_company: Text | None = None
    driver: Text | None = None
    scheduled_at: datetime | None = None
    notes: Note = ""
    identity_checked: bool = False


class DeliveryOut(CamelModel):
    order_id: UUID
    order_status: OrderState
    mode: str
    state: DeliveryState
    attempts: int
    transport_company: str | None
    scheduled_at: datetime | None


class VehicleOut(CamelModel):
    vin: str
    model: str
    firmware_version: str
    assignment_status: str
    inventory_status: str | None
    available_for_sale: bool
    at_dealership_since: datetime | None
    manufactured_at: datetime | None
    order_id: UUID | None
    order_number: str | None
    order_status: str | None


class InventoryOut(CamelModel):
    dealership_id: UUID
    in_stock: int
    vehicles: list[VehicleOut]


class OrderSummary(CamelModel):
    order_id: UUID
    number: str
    status: OrderState
    platform: str
    vin: str | None
    ordered_at: datetime
    due_at: datetime | None
    customer_name: str
    customer_code: str


class LinkOut(CamelModel):
    link_id: UUID
    vin: str
    state: str
    code: str
    expires_at: datetime


class FactoryStatusIn(BaseModel):
    """The factory's webhook (DOMAIN 17); snake_case is its own way, extra members are let be."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    order_id: str = Field(min_length=1, max_length=100)
    status: str = Field(min_length=1, max_length=50)
    timestamp: datetime
    estimated_completion_date: date | None = None
    notes: str | None = Field(None, max_length=2000)
    location: str | None = Field(None, max_length=200)
    vin: str | None = None
    firmware_version: str | None = Field(None, max_length=50)
    transport_company: str | None = Field(None, max_length=200)
