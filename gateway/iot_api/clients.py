"""Clients of the IoT API: their secrets, tokens and vehicles (RFC 6749, 4.4)."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import httpx

from core.contracts.iot_api import TokenAnswer
from core.db import Connection
from core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from core.ids import parse_vin
from gateway.iot_api.vehicles import QUERIES, find_vehicle

SCOPES = ("configure", "read")
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what they may."""

    client_id: str
    scopes: list[str]
    every_vehicle: bool


@dataclass(frozen=True, slots=True)
class ClientId:
    """A client by its name alone."""

    client_id: str


@dataclass(frozen=True, slots=True)
class Client:
    """A client as an operator sees it; ``vehicles`` counts those it may reach by name."""

    client_id: str
    scopes: list[str]
    every_vehicle: bool
    models: list[str]
    status: str
    callback_url: str | None
    telemetry_url: str | None
    created_at: datetime
    vehicles: int


@dataclass(frozen=True, slots=True)
class NewClient:
    """Shown this once."""

    client_id: str
    secret: str
    callback_secret: str | None


async def create(
    conn: Connection,
    client_id: str,
    *,
    now: datetime,
    scopes: Sequence[str] = SCOPES,
    every_vehicle: bool = False,
    models: Sequence[str] = (),
    callback_url: str | None = None,
    telemetry_url: str | None = None,
    allow_http: bool = False,
) -> NewClient:
    """A client with its first secret. Conflict: the name is taken. Invalid: scope, model, URL."""
    if not set(scopes) <= set(SCOPES) or not scopes:
        raise Invalid("INVALID_SCOPE", f"scopes are {' and '.join(SCOPES)}")
    urls = [url for url in (callback_url, telemetry_url) if url is not None]
    for url in urls:
        check_url(url, allow_http=allow_http)
    for model in models:
        if not await conn.value(QUERIES["model_exists"], {"model": model}):
            raise Invalid("UNKNOWN_MODEL", f"the catalogue does not know the model {model!r}")
    callback_secret = secrets.token_hex(SECRET_BYTES) if urls else None
    made = await conn.execute(
        QUERIES["insert_client"],
        {
            "client_id": client_id,
            "scopes": sorted(set(scopes)),
            "every_vehicle": every_vehicle,
            "models": sorted(set(models)),
            "callback_url": callback_url,
            "telemetry_url": telemetry_url,
            "callback_secret": callback_secret,
        },
    )
    if not made:
        raise Conflict("CLIENT_EXISTS", f"there is a client {client_id!r} already")
    return NewClient(client_id, await _add_secret(conn, client_id, now), callback_secret)


async def rotate(conn: Connection, client_id: str, *, now: datetime, overlap_s: float) -> str:
    """A new secret; the old ones end after ``overlap_s`` seconds. NotFound."""
    await find(conn, client_id)
    until = now + timedelta(seconds=overlap_s)
    await conn.execute(QUERIES["end_secrets"], {"client_id": client_id, "until": until})
    return await _add_secret(conn, client_id, now)


async def revoke(conn: Connection, client_id: str) -> None:
    """Shut a client out: secrets and tokens end at once, and it is told nothing more. NotFound."""
    if not await conn.execute(QUERIES["revoke_client"], {"client_id": client_id}):
        raise NotFound("UNKNOWN_CLIENT", f"there is no client {client_id!r}")
    await end_tokens(conn, client_id)
    await conn.execute(QUERIES["end_callbacks"], {"client_id": client_id})
    await conn.execute(QUERIES["forget_pushes"], {"client_id": client_id})


async def end_tokens(conn: Connection, client_id: str) -> None:
    """End the tokens a client has now."""
    await conn.execute(QUERIES["end_tokens"], {"client_id": client_id})


async def find(conn: Connection, client_id: str) -> Client:
    """One client; NotFound."""
    found = await conn.one_or_none(Client, QUERIES["clients"], {"client_id": client_id})
    if found is None:
        raise NotFound("UNKNOWN_CLIENT", f"there is no client {client_id!r}")
    return found


async def list_clients(conn: Connection) -> list[Client]:
    """Every client by name."""
    return await conn.all(Client, QUERIES["clients"], {"client_id": None})


async def allow(conn: Connection, client_id: str, vins: Sequence[str], *, allowed: bool) -> None:
    """Let a client reach these vehicles, or no longer. NotFound; Invalid VIN."""
    await find(conn, client_id)
    query = QUERIES["allow_vehicle" if allowed else "disallow_vehicle"]
    for vin in vins:
        known = await find_vehicle(conn, parse_vin(vin))
        await conn.execute(query, {"client_id": client_id, "vin": known.vin})


async def token(
    conn: Connection,
    client_id: str,
    secret: str,
    *,
    scope: str,
    now: datetime,
    token_s: float,
) -> TokenAnswer:
    """An access token. Unauthenticated: wrong credentials. Invalid: a scope the client lacks."""
    row = {"client_id": client_id, "secret_hash": _digest(secret), "now": now}
    caller = await conn.one_or_none(Caller, QUERIES["by_secret"], row)
    if caller is None:
        raise Unauthenticated("invalid_client", "unknown client or wrong secret")
    scopes = scope.split() or caller.scopes
    if not set(scopes) <= set(caller.scopes):
        raise Invalid("invalid_scope", "the client does not have this scope")
    value = secrets.token_urlsafe(SECRET_BYTES)
    await conn.execute(QUERIES["forget_tokens"], {"now": now})
    await conn.execute(
        QUERIES["insert_token"],
        {
            "token_hash": _digest(value),
            "client_id": client_id,
            "scopes": scopes,
            "expires_at": now + timedelta(seconds=token_s),
        },
    )
    return TokenAnswer(access_token=value, expires_in=int(token_s), scope=" ".join(scopes))


async def caller_of(conn: Connection, value: str, now: datetime) -> Caller:
    """Whose token it is; Unauthenticated where it is unknown, over or its client revoked."""
    row = {"token_hash": _digest(value), "now": now}
    caller = await conn.one_or_none(Caller, QUERIES["by_token"], row)
    if caller is None:
        raise Unauthenticated("TOKEN_INVALID", "the token is not valid or has expired")
    return caller


async def check_reach(conn: Connection, caller: Caller, scope: str, vin: str) -> None:
    """Forbidden where the token lacks the scope or the client the vehicle.

    A vehicle outside of the client's set is forbidden whether it exists or not.
    """
    if scope not in caller.scopes:
        raise Forbidden("INSUFFICIENT_SCOPE", f"the token lacks the scope {scope}")
    row = {"client_id": caller.client_id, "vin": vin}
    if not caller.every_vehicle and not await conn.value(QUERIES["may_reach"], row):
        raise Forbidden("VEHICLE_FORBIDDEN", f"{vin} is not among this client's vehicles")


def check_url(url: str, *, allow_http: bool) -> None:
    """Invalid where ``url`` is not one to send callbacks to."""
    schemes = ("https", "http") if allow_http else ("https",)
    wrong = Invalid("INVALID_URL", f"a callback goes to an {schemes[0]} URL")
    try:
        parts = urlsplit(url)
        _ = parts.port  # checked where it is read
        host = (
            parts.hostname and httpx.URL(url).host
        )  # what will be called: it reads some names otherwise
    except (ValueError, httpx.InvalidURL) as error:  # an IDNAError is a ValueError
        raise wrong from error
    if not host or parts.scheme not in schemes or parts.username or parts.fragment:
        raise wrong


async def _add_secret(conn: Connection, client_id: str, now: datetime) -> str:
    secret = secrets.token_hex(SECRET_BYTES)
    row = {"secret_hash": _digest(secret), "client_id": client_id, "now": now}
    await conn.execute(QUERIES["insert_secret"], row)
    return secret


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
