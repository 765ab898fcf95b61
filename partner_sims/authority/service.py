"""Registrations: one plate for a car and purchase, however often it is filed."""

import json
from dataclasses import dataclass
from typing import Any

from core.ids import new_id
from partner_sims.authority import rules
from partner_sims.authority.schemas import RegistrationIn
from partner_sims.errors import PartnerError
from partner_sims.faults.service import Fault
from partner_sims.sims import Sims

REVIEW_DUE = "authority.review"
WEBHOOK_PATH = "/api/v1/webhooks/registration"


@dataclass(frozen=True, slots=True)
class Registration:
    """A row of registrations; ``body`` is what the platform gets once it is REGISTERED."""

    registration_id: str
    country: str
    vin: str
    purchase: str
    idempotency_key: str | None
    status: str
    license_plate: str
    body: str


def install(sims: Sims) -> None:
    """Take over the authorities' timers."""
    sims.due.on(REVIEW_DUE, lambda key: end_review(sims, key))


def register(
    sims: Sims,
    country: str,
    body: RegistrationIn,
    idempotency_key: str | None,
    declined: Fault | None,
) -> Registration:
    """Give the car its plate, or find the one it has; PartnerError with the authority's code."""
    vin = body.vin.strip().upper()
    earlier = sims.store.one(Registration, "registration_by_vin", vin=vin)
    if earlier is not None:
        same_key = idempotency_key is not None and earlier.idempotency_key == idempotency_key
        if same_key or earlier.purchase == body.invoice_number:
            return earlier
        raise PartnerError(
            409,
            "ALREADY_REGISTERED",
            "this vehicle is registered",
            details={
                "field": "vin",
            },
        )
    _check(country, vin, body, declined)
    review = sims.faults.take("authority", ("review",), body.model_dump_json())
    registration = _make(sims, country, vin, body, idempotency_key, under_review=review is not None)
    sims.store.run(
        "registration_insert",
        registration_id=registration.registration_id,
        country=country,
        vin=vin,
        purchase=registration.purchase,
        idempotency_key=idempotency_key,
        status=registration.status,
        license_plate=registration.license_plate,
        body=registration.body,
    )
    if review is not None:
        delay_s = review.delay_s or sims.settings.review_delay_s
        sims.due.after(delay_s, REVIEW_DUE, registration.registration_id)
    return registration


def find(sims: Sims, registration_id: str) -> Registration:
    """The registration, else PartnerError 404."""
    found = sims.store.one(Registration, "registration_get", registration_id=registration_id)
    if found is None:
        raise PartnerError(404, "REGISTRATION_NOT_FOUND", "no such registration")
    return found


def end_review(sims: Sims, registration_id: str) -> None:
    """The review is over: registered, and the platform is told."""
    if sims.store.run("registration_end_review", registration_id=registration_id):
        registration = find(sims, registration_id)
        body = {**view(registration), "timestamp": sims.stamp()}
        sims.outbox.put("authority", WEBHOOK_PATH, body, sims.now())


def view(registration: Registration) -> dict[str, Any]:
    """What an authority says of a registration: the papers only once it is REGISTERED."""
    head = {
        "registration_id": registration.registration_id,
        "status": registration.status,
        "vin": registration.vin,
        "authority": rules.COUNTRIES[registration.country],
    }
    if registration.status != "REGISTERED":
        return head
    papers: dict[str, Any] = json.loads(registration.body)
    return {**head, **papers}


def _check(country: str, vin: str, body: RegistrationIn, declined: Fault | None) -> None:
    wrong = rules.check(country, vin, body.owner.tax_id, body.tuv_reference, body.regional_office)
    if declined is not None:
        wrong = rules.Fault(declined.code or "TAX_DEBT", "owner.tax_id", "the authority refuses")
    if wrong is not None:
        raise PartnerError(422, wrong.code, wrong.message, details={"field": wrong.field})


def _make(
    sims: Sims,
    country: str,
    vin: str,
    body: RegistrationIn,
    idempotency_key: str | None,
    *,
    under_review: bool,
) -> Registration:
    today = sims.now().date()
    number = sims.store.next_number(f"plate-{country}")
    license_plate = rules.plate(country, number, body.regional_office)
    registration_number = f"{rules.COUNTRIES[country]}-{today.year}-{number:06d}"
    registration_id = f"reg_{new_id().hex}"
    certificate_url = f"{sims.settings.base_url}/authority/certificates/{registration_id}"
    papers = {
        "license_plate": license_plate,
        "registration_number": registration_number,
        "registration_date": today.isoformat(),
        "expiry_date": rules.expiry(today).isoformat(),
        "certificate_url": certificate_url,
        "certificates": [{"type": "REGISTRATION_CERTIFICATE", "url": certificate_url}],
        "environmental_badge": rules.badge(body.emissions_g_km, body.engine),
        "fee_minor": 0,
    }
    return Registration(
        registration_id=registration_id,
        country=country,
        vin=vin,
        purchase=body.invoice_number,
        idempotency_key=idempotency_key,
        status="UNDER_REVIEW" if under_review else "REGISTERED",
        license_plate=license_plate,
        body=json.dumps(papers),
    )
