"""`/authority`: DGT, ANTS, KBA and a generic one, each with the contract of DOMAIN 10."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header
from fastapi.responses import JSONResponse, PlainTextResponse

from partner_sims.authority import service
from partner_sims.authority.schemas import RegistrationIn
from partner_sims.bearer import authority_caller
from partner_sims.errors import PartnerError
from partner_sims.sims import SimsDep

router = APIRouter(prefix="/authority", tags=["authority"])
_CALLER = [Depends(authority_caller)]
Country = Literal["es", "fr", "de", "generic"]


@router.post("/{country}/register-vehicle", dependencies=_CALLER)
async def register(
    country: Country,
    body: RegistrationIn,
    sims: SimsDep,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> JSONResponse:
    """File a registration: 200 with the plate, 202 under review, 4xx with the reason."""
    with sims.store.transaction():
        # Apart from the registration, whose refusal would undo the count.
        declined = sims.faults.take("authority", ("decline",), body.model_dump_json())
    with sims.store.transaction():
        registration = service.register(sims, country, body, idempotency_key, declined)
    # The office takes its time, but has decided: who gives up waiting may ask again.
    await sims.pause(sims.settings.registration_delay_s)
    status = 200 if registration.status == "REGISTERED" else 202
    return JSONResponse(service.view(registration), status_code=status)


@router.get("/registrations/{registration_id}", dependencies=_CALLER)
async def read(registration_id: str, sims: SimsDep) -> dict[str, Any]:
    """Where a registration stands."""
    return service.view(service.find(sims, registration_id))


@router.get("/certificates/{registration_id}")
async def certificate(registration_id: str, sims: SimsDep) -> PlainTextResponse:
    """The certificate itself, for who has its link."""
    registration = service.find(sims, registration_id)
    if registration.status != "REGISTERED":
        raise PartnerError(404, "REGISTRATION_NOT_FOUND", "no certificate yet")
    facts = service.view(registration)
    lines = [f"{name}: {facts[name]}" for name in sorted(facts) if name != "certificates"]
    return PlainTextResponse("Registration certificate\n\n" + "\n".join(lines) + "\n")
