"""The calls of the IoT API (DOMAIN 9)."""

import base64
import binascii
import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote_plus
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Request
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from core.bus import BusUnavailable
from core.contracts.iot_api import (
    KEY_HEADER,
    REQUEST_ID_HEADER,
    SIGNATURE_HEADER,
    TIME_HEADER,
    CommandAccepted,
    CommandView,
    ConfigureRequest,
    DiagnosticsReport,
    DisplayRequest,
    HealthView,
    History,
    StatusView,
    TokenAnswer,
)
from core.errors import DomainError, Invalid, Unauthenticated
from gateway.iot_api import clients, service, vehicles
from gateway.iot_api.auth import Failures, Presented, Scheme
from gateway.iot_api.clients import Caller
from gateway.iot_api.document import CONFIGURE, READ, TOKEN, TOKEN_FORM
from gateway.iot_api.metrics import REFUSED, TOKENS
from gateway.iot_api.settings import IotApiSettings
from gateway.parts import Gateway

router = APIRouter()
bearer = HTTPBearer(auto_error=False, description="A token of POST /oauth/token")
api_key = APIKeyHeader(
    name=KEY_HEADER,
    auto_error=False,
    description=f"A key's id, with {TIME_HEADER} and {SIGNATURE_HEADER}: hex HMAC-SHA256 of "
    f"method, path with query, time, {REQUEST_ID_HEADER} (empty where there is none) and body, "
    "joined by LF",
)


@dataclass(frozen=True, slots=True)
class IotApi:
    """The API's surroundings."""

    gateway: Gateway
    settings: IotApiSettings
    schemes: Sequence[Scheme]
    failures: Failures


def surroundings(request: Request) -> IotApi:
    """What the application was made with."""
    iot = request.app.state.iot
    assert isinstance(iot, IotApi)
    return iot


Iot = Annotated[IotApi, Depends(surroundings)]


# ``_token`` and ``_key`` are there for the document: the schemes read the request themselves.
async def authenticate(
    request: Request,
    iot: Iot,
    _token: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    _key: Annotated[str | None, Depends(api_key)],
) -> Caller:
    """Who calls; Unauthenticated, or TooMany where that was so too often."""
    presented = await _presented(request)
    now = iot.gateway.clock.now()
    for scheme in iot.schemes:
        name = scheme.name(presented)
        if name is None:
            continue
        with _counted(iot.failures, presented.address, f"{scheme.kind} {name}", now):
            try:
                async with iot.gateway.database.transaction() as conn:
                    caller = await scheme.caller(conn, presented, now)
            except Unauthenticated:
                REFUSED.labels(scheme.kind).inc()
                raise
        request.state.user_id = caller.client_id
        return caller
    REFUSED.labels("none").inc()
    raise Unauthenticated("TOKEN_MISSING", "send Authorization: Bearer and a token")


@contextlib.contextmanager
def _counted(failures: Failures, address: str, name: str, now: datetime) -> Generator[None]:
    failures.check(address, name, now)
    try:
        yield
    except Unauthenticated:
        failures.count(address, name, now)
        raise


async def _presented(request: Request) -> Presented:
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["raw_path"].decode("latin-1")
    return Presented(
        method=request.method,
        target=f"{path}?{query}" if query else path,
        headers=request.headers,
        body=await request.body(),
        address="" if request.client is None else request.client.host,
    )


CallerDep = Annotated[Caller, Depends(authenticate)]
VinPath = Annotated[str, Path(pattern="^[A-HJ-NPR-Z0-9]{17}$")]
RequestId = Annotated[str, Header(alias=REQUEST_ID_HEADER, pattern="^[A-Za-z0-9._:-]{1,100}$")]


@router.post(
    "/oauth/token",
    response_model=TokenAnswer,
    tags=["tokens"],
    responses=TOKEN,
    openapi_extra=TOKEN_FORM,
)
async def token(request: Request, iot: Iot) -> JSONResponse:
    """An access token for client credentials (RFC 6749, 4.4): HTTP Basic, or in the form."""
    try:
        client_id, secret, form = _credentials(
            request.headers.get("authorization", ""), await request.body()
        )
        if form.get("grant_type") != "client_credentials":
            raise Invalid("unsupported_grant_type", "grant_type is client_credentials")
        made = await _make_token(request, iot, client_id, secret, form.get("scope", ""))
    except (Invalid, Unauthenticated) as refused:
        TOKENS.labels(refused.code).inc()
        return _refused(refused)
    TOKENS.labels("ok").inc()
    return JSONResponse(made.model_dump(), headers={"Cache-Control": "no-store"})


@router.post("/vehicle/{vin}/configure", status_code=202, tags=["vehicles"], responses=CONFIGURE)
async def configure(
    vin: VinPath, body: ConfigureRequest, request_id: RequestId, caller: CallerDep, iot: Iot
) -> CommandAccepted:
    """Order a configuration. 202 = it is durable and goes out; how it ends is told later."""
    _check_order(iot, vin, body.vin)
    async with iot.gateway.database.transaction() as conn:
        await clients.check_reach(conn, caller, "configure", vin)
        return await service.configure(
            conn, iot.settings, caller, request_id, body, iot.gateway.clock.now()
        )


@router.post("/vehicle/{vin}/display", status_code=202, tags=["vehicles"], responses=CONFIGURE)
async def display(
    vin: VinPath, body: DisplayRequest, request_id: RequestId, caller: CallerDep, iot: Iot
) -> CommandAccepted:
    """Show a text on the vehicle's screen (beyond DOMAIN 9). 202 as for configure.

    No configuration is spent; a vehicle takes a few texts an hour, then 429.
    """
    _check_order(iot, vin, body.vin)
    async with iot.gateway.database.transaction() as conn:
        await clients.check_reach(conn, caller, "configure", vin)
        return await service.display(
            conn, iot.settings, caller, request_id, body, iot.gateway.clock.now()
        )


@router.get("/vehicle/{vin}/commands/{command_id}", tags=["vehicles"], responses=READ)
async def command(vin: VinPath, command_id: UUID, caller: CallerDep, iot: Iot) -> CommandView:
    """How a command stands."""
    async with iot.gateway.database.transaction() as conn:
        await clients.check_reach(conn, caller, "read", vin)
        return await vehicles.command_view(
            conn, vin, command_id, iot.gateway.clock.now(), iot.settings.complete_s
        )


@router.get("/vehicle/{vin}/status", tags=["vehicles"], responses=READ)
async def status(vin: VinPath, caller: CallerDep, iot: Iot) -> StatusView:
    """Connectivity, active services, diagnostics, and the reported configuration."""
    async with iot.gateway.database.transaction() as conn:
        await clients.check_reach(conn, caller, "read", vin)
        return vehicles.status_view(await vehicles.find_vehicle(conn, vin))


@router.get("/vehicle/{vin}/health", tags=["vehicles"], responses=READ)
async def health(vin: VinPath, caller: CallerDep, iot: Iot) -> HealthView:
    """Whether the vehicle can be reached, and how well."""
    async with iot.gateway.database.transaction() as conn:
        await clients.check_reach(conn, caller, "read", vin)
        return vehicles.health_view(await vehicles.find_vehicle(conn, vin))


@router.get("/vehicle/{vin}/history", tags=["vehicles"], responses=READ)
async def history(vin: VinPath, caller: CallerDep, iot: Iot) -> History:
    """Every configuration command, whoever ordered it, newest first."""
    async with iot.gateway.database.transaction() as conn:
        await clients.check_reach(conn, caller, "read", vin)
        await vehicles.find_vehicle(conn, vin)
        return await vehicles.history(conn, vin, iot.gateway.clock.now(), iot.settings.complete_s)


@router.get("/vehicle/{vin}/diagnostics", tags=["vehicles"], responses=READ)
async def diagnostics(vin: VinPath, caller: CallerDep, iot: Iot) -> DiagnosticsReport:
    """Trouble codes with their texts, the network, and the vehicle's newest events."""
    async with iot.gateway.database.transaction() as conn:
        await clients.check_reach(conn, caller, "read", vin)
        return await vehicles.diagnostics(conn, await vehicles.find_vehicle(conn, vin))


async def _make_token(
    request: Request, iot: IotApi, client_id: str, secret: str, scope: str
) -> TokenAnswer:
    now = iot.gateway.clock.now()
    address = "" if request.client is None else request.client.host
    with _counted(iot.failures, address, f"client {client_id}", now):
        async with iot.gateway.database.transaction() as conn:
            return await clients.token(
                conn, client_id, secret, scope=scope, now=now, token_s=iot.settings.token_s
            )


def _check_order(iot: IotApi, vin: str, named: str) -> None:
    if named != vin:
        raise Invalid("VIN_MISMATCH", "the body names another vehicle than the path")
    bus = iot.gateway.bus.bus
    if bus is None or not bus.connected:
        raise BusUnavailable("no connection to the broker")


def _credentials(header: str, body: bytes) -> tuple[str, str, dict[str, str]]:
    """Client id, secret and the form; Unauthenticated or Invalid where they cannot be read."""
    try:
        form = {name: values[0] for name, values in parse_qs(body.decode("ascii")).items()}
        kind, _, value = header.partition(" ")
        if kind.lower() != "basic":
            return form.get("client_id", ""), form.get("client_secret", ""), form
        pair = base64.b64decode(value, validate=True).decode()
    except (UnicodeDecodeError, binascii.Error, ValueError) as error:
        raise Invalid("invalid_request", "the credentials or the form cannot be read") from error
    client_id, _, secret = pair.partition(":")
    return unquote_plus(client_id), unquote_plus(secret), form


def _refused(refused: DomainError) -> JSONResponse:
    # RFC 6749, 5.2 has an error shape of its own.
    body: dict[str, Any] = {"error": refused.code, "error_description": refused.message}
    wrong = isinstance(refused, Unauthenticated)
    headers = {"WWW-Authenticate": 'Basic realm="caas-iot"'} if wrong else {}
    return JSONResponse(body, status_code=401 if wrong else 400, headers=headers)
