"""The registration authorities' HTTP API, one path per country (DOMAIN 10, Registration)."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from api.customers.service import Customer, Dealership
from api.orders.repository import Order, Platform
from api.partners.http import PartnerClient, PartnerUnavailable

_OK = 200
_UNDER_REVIEW = 202
_CREDENTIALS = frozenset({401, 403})
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Papers:
    """Registered: plate and papers."""

    license_plate: str
    registration_number: str
    registration_date: date
    expiry_date: date | None
    certificate_url: str | None
    environmental_badge: str | None


@dataclass(frozen=True, slots=True)
class UnderReview:
    """The authority looks at it; ask again under ``reference``."""

    reference: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A definitive no: staff must put something right. ``alert``: our credentials are wrong."""

    code: str
    message: str
    alert: bool = False


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Transient: try again later."""

    message: str


Answer = Papers | UnderReview | Refused | NoAnswer


@dataclass(frozen=True, slots=True)
class Filing:
    """Everything an authority wants to know of one registration."""

    order: Order
    customer: Customer
    dealership: Dealership
    platform: Platform
    manufacturer: str
    details: dict[str, Any]


async def file(client: PartnerClient, authority: str, filing: Filing) -> Answer:
    """File it; the same order files once, however often it is sent."""
    return await _ask(
        client,
        "POST",
        f"/{authority}/register-vehicle",
        "register_vehicle",
        json=body(filing),
        key=str(filing.order.order_id),
    )


async def look_up(client: PartnerClient, reference: str) -> Answer:
    """How a registration under review stands."""
    return await _ask(client, "GET", f"/registrations/{reference}", "registration_status")


async def _ask(
    client: PartnerClient,
    method: str,
    path: str,
    operation: str,
    *,
    json: Any = None,
    key: str | None = None,
) -> Answer:
    try:
        response = await client.request(
            method, path, operation=operation, json=json, idempotency_key=key
        )
    except PartnerUnavailable as error:
        return NoAnswer(error.message)
    try:
        return read(response.status_code, response.json())
    except (ValueError, KeyError, AttributeError):
        return NoAnswer(f"answer {response.status_code} is not readable")


def read(status: int, answer: dict[str, Any]) -> Answer:
    """What an authority's answer says: pure."""
    if status in (_OK, _UNDER_REVIEW):
        if answer["status"] != "REGISTERED":
            return UnderReview(str(answer["registration_id"]))
        expiry = answer.get("expiry_date")
        return Papers(
            license_plate=str(answer["license_plate"]),
            registration_number=str(answer["registration_number"]),
            registration_date=date.fromisoformat(answer["registration_date"]),
            expiry_date=date.fromisoformat(expiry) if expiry else None,
            certificate_url=answer.get("certificate_url"),
            environmental_badge=answer.get("environmental_badge"),
        )
    if status in _CREDENTIALS:
        return Refused("AUTHORITY_CREDENTIALS", "the authority refuses our token", alert=True)
    if status == _NOT_FOUND:
        return NoAnswer("the authority does not know the case")
    return Refused(str(answer.get("error_code", "REFUSED")), str(answer.get("message", "")))


def body(filing: Filing) -> dict[str, Any]:
    """The body of `POST /register-vehicle`."""
    order, customer, dealership = filing.order, filing.customer, filing.dealership
    return {
        "vehicle_id": order.vin,
        "vin": order.vin,
        "customer_id": str(order.customer_id),
        "country": customer.country,
        "manufacturer": filing.manufacturer,
        "model": filing.platform.name,
        "engine": filing.platform.engine_type,
        "owner": {
            "id": customer.code,
            "tax_id": customer.tax_id,
            "name": customer.name,
            "address": customer.address,
            "email": customer.email,
            "phone": customer.phone,
        },
        "dealership": {
            "dealership_id": dealership.code,
            "location": dealership.address["city"],
            "authorization_number": dealership.authorization_number,
        },
        "purchase_date": order.ordered_at.date().isoformat(),
        "payment_confirmation": str(order.final_payment_id),
        "invoice_number": order.number,
        "tuv_reference": filing.details.get("tuvReference", ""),
        "regional_office": filing.details.get("regionalOffice", ""),
    }


def without_personal_data(sent: dict[str, Any]) -> dict[str, Any]:
    """A request as the audit keeps it."""
    return {name: value for name, value in sent.items() if name != "owner"}
