"""`/vss`: OAuth2 client credentials and the maintenance contract of DOMAIN 5."""

import base64
import binascii
import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Header, Query, Response

from core.ids import is_vin
from partner_sims.bearer import Authorization, bearer_of
from partner_sims.errors import PartnerError
from partner_sims.sims import Sims, SimsDep
from partner_sims.vss import rules
from partner_sims.vss.schemas import VehicleIn

router = APIRouter(prefix="/vss", tags=["vss"])


@dataclass(frozen=True, slots=True)
class _Token:
    token_hash: str


@dataclass(frozen=True, slots=True)
class _Vehicle:
    body: str


async def _client(sims: SimsDep, authorization: Authorization = None) -> None:
    found = sims.store.one(
        _Token,
        "vss_token_get",
        token_hash=_hash(bearer_of(authorization)),
        now=sims.now().timestamp(),
    )
    if found is None:
        raise PartnerError(401, "UNAUTHORIZED", "the token is not valid or has expired")


async def _echo(response: Response, x_request_id: Annotated[str | None, Header()] = None) -> None:
    if x_request_id:
        response.headers["X-Request-ID"] = x_request_id


_CALLER = [Depends(_client), Depends(_echo)]


@router.post("/oauth/token")
async def token(
    sims: SimsDep,
    grant_type: Annotated[str, Form()] = "",
    client_id: Annotated[str, Form()] = "",
    client_secret: Annotated[str, Form()] = "",
    authorization: Authorization = None,
) -> dict[str, Any]:
    """A bearer token for client credentials, in the form or as Basic (RFC 6749, 4.4)."""
    if grant_type != "client_credentials":
        raise PartnerError(400, "UNSUPPORTED_GRANT_TYPE", "client_credentials only")
    given = _basic(authorization) or (client_id, client_secret)
    settings = sims.settings
    expected = (settings.vss_client_id, settings.vss_client_secret.get_secret_value())
    if not secrets.compare_digest("\n".join(given).encode(), "\n".join(expected).encode()):
        raise PartnerError(401, "INVALID_CLIENT", "client id or secret is wrong")
    value, now = secrets.token_urlsafe(32), sims.now().timestamp()
    with sims.store.transaction():
        sims.store.run("vss_token_purge", now=now)
        sims.store.run(
            "vss_token_insert",
            token_hash=_hash(value),
            expires_at=now + settings.vss_token_life_s,
        )
    return {
        "access_token": value,
        "token_type": "Bearer",
        "expires_in": int(settings.vss_token_life_s),
    }


@router.get("/api/v1/vehicles/{vin}/maintenance-status", dependencies=_CALLER)
async def maintenance_status(
    vin: str,
    sims: SimsDep,
    functional_blocks: Annotated[str, Query(alias="functional-blocks")] = "",
    include_history: Annotated[bool, Query(alias="include-history")] = False,
) -> dict[str, Any]:
    """The maintenance facts of a car, by functional block."""
    status, history = _facts(sims, vin)
    answer = rules.only_blocks(status, functional_blocks.split(","))
    return {**answer, "service_history": history} if include_history else answer


@router.get("/api/v1/vehicles/{vin}/service-history", dependencies=_CALLER)
async def service_history(vin: str, sims: SimsDep) -> dict[str, Any]:
    """Every service done: scheduled, corrective, warranty, recall."""
    _, history = _facts(sims, vin)
    return {"vin": vin, "services": history}


@router.get("/api/v1/maintenance-schedules/{model}/{year}", dependencies=_CALLER)
async def maintenance_schedule(model: str, year: int) -> dict[str, Any]:
    """When a model is due."""
    return rules.schedule(model, year)


@router.put("/_control/vehicles/{vin}")
async def set_vehicle(vin: str, body: VehicleIn, sims: SimsDep) -> dict[str, Any]:
    """Say what the workshops know of a car; ``known: false`` makes it 404."""
    _check_vin(vin)
    with sims.store.transaction():
        sims.store.run("vss_vehicle_put", vin=vin, body=json.dumps(body.changes()))
    return {"vin": vin, **body.changes()}


@router.delete("/_control/vehicles/{vin}")
async def reset_vehicle(vin: str, sims: SimsDep) -> dict[str, Any]:
    """Everything up to date again."""
    with sims.store.transaction():
        sims.store.run("vss_vehicle_delete", vin=vin)
    return {"vin": vin}


def _facts(sims: Sims, vin: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    _check_vin(vin)
    with sims.store.transaction():
        declined = sims.faults.take("vss", ("decline",), vin)
    found = sims.store.one(_Vehicle, "vss_vehicle_get", vin=vin)
    changes: dict[str, Any] = {} if found is None else json.loads(found.body)
    if declined is not None or not changes.pop("known", True):
        raise PartnerError(404, "VIN_NOT_FOUND", "no workshop knows this vehicle")
    history = changes.pop("service_history", None)
    status = rules.apply(rules.default_status(vin, sims.now().date()), changes)
    return status, rules.default_history(status) if history is None else history


def _check_vin(vin: str) -> None:
    if not is_vin(vin):
        raise PartnerError(
            400, "INVALID_VIN", "a VIN has 17 letters and digits, without I, O and Q"
        )


def _basic(authorization: str | None) -> tuple[str, str] | None:
    scheme, _, value = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
