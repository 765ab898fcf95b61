"""A registration as the platform files it (DOMAIN 10)."""

from datetime import date

from pydantic import BaseModel, Field


class Address(BaseModel):
    street: str = ""
    city: str = ""
    postal_code: str = ""
    country: str = ""


class Owner(BaseModel):
    """Who the car is registered to."""

    id: str | None = None
    tax_id: str = ""
    name: str = ""
    address: Address = Address()
    email: str | None = None
    phone: str | None = None


class Dealership(BaseModel):
    """Who files it."""

    dealership_id: str
    location: str = ""
    authorization_number: str = ""


class RegistrationIn(BaseModel):
    """Vehicle, owner, dealership and proof of purchase."""

    vehicle_id: str = ""
    customer_id: str
    country: str = Field(min_length=2, max_length=2)
    vin: str
    manufacturer: str
    model: str
    engine: str
    power_kw: float | None = Field(None, ge=0)
    emissions_g_km: float | None = Field(None, ge=0)
    weight_kg: float | None = Field(None, ge=0)
    owner: Owner
    dealership: Dealership
    purchase_date: date
    payment_confirmation: str = Field(min_length=1)
    invoice_number: str = Field(min_length=1)
    # Germany only.
    tuv_reference: str = ""
    regional_office: str = ""
