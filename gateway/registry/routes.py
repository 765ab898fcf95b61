"""The registry's calls for administrators (DOMAIN 2 and 16)."""

import asyncio
import tempfile
from dataclasses import dataclass
from typing import Annotated, BinaryIO

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from core.contracts.access_token import AccessClaims, read_access
from core.contracts.states import Role
from core.errors import Forbidden, Unauthenticated
from core.settings import AccessTokenSettings
from gateway.accounts.settings import AccountsSettings
from gateway.accounts.tell import tell
from gateway.parts import Gateway
from gateway.registry import service
from gateway.registry.bulk import as_dict, import_vehicles
from gateway.registry.changes import of_enrolment, of_revocation, tell_of_import
from gateway.registry.credentials import Credential, Desk, enroll_with, rotate_with
from gateway.registry.model import Enrolment, Filters
from gateway.registry.schemas import (
    CertificateOut,
    EnrollIn,
    EnrolmentOut,
    EventOut,
    ImportOut,
    ListQuery,
    RevokedOut,
    RevokeIn,
    RotateIn,
    VehicleDetailOut,
    VehicleOut,
    VehiclesOut,
    end_of,
)
from gateway.registry.settings import CaSettings, RegistrySettings
from gateway.registry.vins import vin_rule

router = APIRouter()
_BEARER = HTTPBearer(auto_error=False, bearerFormat="JWT", description="A staff access token")
_IN_MEMORY = 2**20
_CSV = {
    "requestBody": {
        "required": True,
        "content": {"text/csv": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@dataclass(frozen=True, slots=True)
class RegistryApi:
    """The calls' surroundings."""

    gateway: Gateway
    ca: CaSettings
    registry: RegistrySettings
    tokens: AccessTokenSettings
    accounts: AccountsSettings


def _api(request: Request) -> RegistryApi:
    api = request.app.state.registry
    assert isinstance(api, RegistryApi)
    return api


Api = Annotated[RegistryApi, Depends(_api)]


def _administrator(
    request: Request,
    api: Api,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> AccessClaims:
    """Who calls: 401 without a good token, 403 where it is not an administrator's."""
    if bearer is None:
        raise Unauthenticated("TOKEN_MISSING", "this call needs an access token")
    secret = api.tokens.jwt_secret.get_secret_value()
    claims = read_access(secret, bearer.credentials, api.gateway.clock.now())
    request.state.user_id = str(claims.user_id)
    if claims.role is not Role.ADMIN:
        raise Forbidden("ROLE_FORBIDDEN", "your role may not do this")
    return claims


def _desk(api: Api, caller: Annotated[AccessClaims, Depends(_administrator)]) -> Desk:
    return Desk(
        ca=api.ca,
        parse=vin_rule(api.registry),
        now=api.gateway.clock.now(),
        actor=f"{caller.role.value.lower()}:{caller.user_id}",
    )


# Every call has one, and with it an administrator.
AtDesk = Annotated[Desk, Depends(_desk)]


@router.post("/vehicles", status_code=201)
async def enroll(body: EnrollIn, response: Response, api: Api, desk: AtDesk) -> EnrolmentOut:
    """Let a vehicle in. 200 where the registry knew it: it keeps what it has."""
    async with api.gateway.database.transaction() as conn:
        made = await enroll_with(
            conn,
            desk,
            _credential(body),
            vin=body.vin,
            model=body.model,
            firmware=body.firmware,
            transport=body.transport,
            again=body.again,
        )
    if not made.created:
        response.status_code = 200
    return await _shown(api, made, response, again=body.again)


@router.get("/vehicles")
async def list_vehicles(
    query: Annotated[ListQuery, Query()], api: Api, desk: AtDesk
) -> VehiclesOut:
    """Vehicles by VIN."""
    filters = Filters(
        presence=query.presence,
        model=query.model,
        status=query.status,
        transport=query.transport,
        search=None if query.search is None else query.search.upper(),
        ends_before=end_of(query, desk.now),
    )
    async with api.gateway.database.transaction() as conn:
        found = await service.list_vehicles(
            conn, limit=query.limit + 1, after=query.after, filters=filters
        )
    page = found[: query.limit]
    more = len(found) > query.limit
    return VehiclesOut(
        vehicles=[VehicleOut.model_validate(vehicle) for vehicle in page],
        next=page[-1].vin if more else None,
    )


@router.post("/vehicles/import", openapi_extra=_CSV)
async def import_csv(
    request: Request, api: Api, desk: AtDesk, *, strict: bool = False
) -> ImportOut:
    """Enrol the vehicles of a CSV file (docs/gateway.md), all of it in one transaction.

    ``strict``: 422 and nothing imported where any line cannot be used or repeats a VIN. A vehicle
    gets the secret its line has, or none.
    """
    # The whole upload first: a slow sender must not hold a transaction open.
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        file: BinaryIO = spool  # pyright: ignore[reportAssignmentType] - it has all of its methods
        async for piece in request.stream():
            await asyncio.to_thread(file.write, piece)
        file.seek(0)
        async with api.gateway.database.transaction() as conn:
            report = await import_vehicles(
                conn,
                file,
                parse=desk.parse,
                actor=desk.actor,
                strict=strict,
                remember=api.accounts.bulk_max + 1,
            )
    notice = await tell_of_import(report, api.gateway.bus_settings, api.accounts)
    return ImportOut.model_validate({**as_dict(report), "notice": notice})


@router.get("/vehicles/{vin}")
async def show(vin: str, api: Api, desk: AtDesk) -> VehicleDetailOut:
    """One vehicle, its certificates, and who did what."""
    async with api.gateway.database.transaction() as conn:
        vehicle = await service.show(conn, vin)
        certificates = await service.certificates(conn, vin)
        events = await service.events(conn, vin)
    return VehicleDetailOut(
        **VehicleOut.model_validate(vehicle).model_dump(),
        certificates=[CertificateOut.model_validate(item) for item in certificates],
        events=[EventOut.model_validate(item) for item in events],
    )


@router.post("/vehicles/{vin}/rotate")
async def rotate(
    vin: str, body: RotateIn, response: Response, api: Api, desk: AtDesk
) -> EnrolmentOut:
    """A new secret, which ends the old one at once; or a new certificate."""
    async with api.gateway.database.transaction() as conn:
        made = await rotate_with(
            conn, desk, _credential(body), vin=vin, revoke_others=body.revoke_others
        )
    return await _shown(api, made, response)


@router.post("/vehicles/{vin}/revoke")
async def revoke(vin: str, body: RevokeIn, api: Api, desk: AtDesk) -> RevokedOut:
    """Shut a vehicle out: its secret and certificates never work again."""
    async with api.gateway.database.transaction() as conn:
        done = await service.revoke(conn, vin, reason=body.reason, actor=desk.actor)
    notice = await tell(of_revocation(vin), api.gateway.bus_settings, api.accounts)
    return RevokedOut(vin=vin.strip().upper(), revoked=done, notice=notice)


def _credential(body: EnrollIn | RotateIn) -> Credential:
    return Credential(
        None if body.csr is None else body.csr.encode(),
        None if body.certificate is None else body.certificate.encode(),
    )


async def _shown(
    api: RegistryApi, made: Enrolment, response: Response, *, again: bool = False
) -> EnrolmentOut:
    notice = await tell(of_enrolment(made, again=again), api.gateway.bus_settings, api.accounts)
    # A secret is for who asked, and for no cache on the way.
    response.headers["Cache-Control"] = "no-store"
    return EnrolmentOut.model_validate(made).model_copy(update={"notice": notice})
