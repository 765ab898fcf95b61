"""A customer's body as the REST API takes and gives it."""

from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, StringConstraints

from api.identity.schemas import CamelModel

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$"),
]
Phone = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^\+?[0-9 ()-]{6,20}$")]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("not a time zone of the IANA list")
    return name


class AddressBody(CamelModel):
    street: Text
    city: Text
    postal_code: Text
    country: Country


class CustomerIn(CamelModel):
    name: Text
    email: Email
    phone: Phone
    address: AddressBody
    tax_id: Text
    language: Literal["es", "en"] = "es"
    time_zone: Annotated[str, AfterValidator(_zone)] = Field("Europe/Madrid", max_length=64)


class CustomerOut(CamelModel):
    customer_id: UUID
    code: str
    name: str
    email: str
    phone: str
    address: AddressBody
    tax_id: str
    language: str
    time_zone: str
