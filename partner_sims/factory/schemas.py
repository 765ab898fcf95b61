"""The factory's request bodies (DOMAIN 10)."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from core.ids import parse_vin

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def _vin(value: str) -> str:
    try:
        return parse_vin(value)
    except Exception as error:
        raise ValueError(str(error)) from None


Vin = Annotated[str, AfterValidator(_vin)]


class Address(BaseModel):
    street: Text
    city: Text
    postal_code: Text
    country: Text


class VehicleSpecification(BaseModel):
    platform_base: Text
    initial_options: list[str] = []
    color: Text
    interior: Text


class PlanComercial(BaseModel):
    maintenance_included: bool
    warranty_years: int = Field(ge=0, le=20)
    opciones_permanentes: list[str] = []


class OrderIn(BaseModel):
    """An order as the platform sends it."""

    customer_id: Text
    vehicle_specification: VehicleSpecification
    dealership_id: Text
    delivery_address: Address
    plan_comercial: PlanComercial


class VinPoolIn(BaseModel):
    """Cars that have been built and wait on the lot."""

    platform: Text
    vins: list[Vin]
    firmware: str | None = None
