"""The vehicle registry: who is enrolled, with which credential; plain functions on a connection."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.db import Connection, load_queries
from core.errors import Conflict, Invalid, NotFound
from core.ids import parse_vin
from core.passwords import hash_password

QUERIES = load_queries("gateway.registry")

SECRET_BYTES = 24
TRANSPORTS = ("mqtt", "iot_api")
MQTT = "mqtt"
ENROLLED = "ENROLLED"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The outcome of enrolling; ``secret`` is shown this once, null where none was made."""

    vin: str
    secret: str | None


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A vehicle as the registry and its last reports have it (`gateway.vehicle_v1`)."""

    vin: str
    model: str
    firmware: str
    transport: str
    enrolment: str
    enrolled_at: datetime
    presence: str
    last_seen_at: datetime | None
    operational: str | None
    signal_pct: float | None
    status_at: datetime | None
    reported_values: list[dict[str, Any]] | None
    reported_digest: str | None
    reported_seq: int | None
    reported_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Credential:
    vin: str
    transport: str
    status: str
    secret_hash: str | None


async def enroll(
    conn: Connection,
    *,
    vin: str,
    model: str,
    firmware: str,
    transport: str = MQTT,
    secret: str | None = None,
    credential: bool = True,
) -> Enrolment:
    """Make the registry know a vehicle; one that it knows keeps its data and its secret.

    An ``mqtt`` vehicle without a secret gets ``secret`` or a generated one, unless ``credential``
    is false: then it cannot sign in until :func:`rotate_secret`. Invalid: the VIN, the model or the
    transport.
    """
    vin = parse_vin(vin)
    if transport not in TRANSPORTS:
        raise Invalid("UNKNOWN_TRANSPORT", f"transport is one of {', '.join(TRANSPORTS)}")
    if not await conn.value(QUERIES["model_exists"], {"model": model}):
        raise Invalid("UNKNOWN_MODEL", f"the catalogue has no vehicle model {model!r}")
    await conn.execute(
        QUERIES["insert_vehicle"],
        {
            "vin": vin,
            "model": model,
            "firmware": firmware,
            "transport": transport,
            "secret_hash": None,
        },
    )
    known = await _credential(conn, vin)
    if (
        not credential
        or known.secret_hash is not None
        or known.transport != MQTT
        or known.status != ENROLLED
    ):
        return Enrolment(vin, None)
    return Enrolment(vin, await _set_secret(conn, vin, secret))


async def rotate_secret(conn: Connection, vin: str, secret: str | None = None) -> Enrolment:
    """Replace a vehicle's secret by ``secret`` or a generated one, shown this once.

    NotFound: no such vehicle. Conflict: it is revoked, or does not sign in to our broker.
    """
    known = await _credential(conn, parse_vin(vin))
    if known.status != ENROLLED:
        raise Conflict("VEHICLE_REVOKED", f"{known.vin} is revoked")
    if known.transport != MQTT:
        raise Conflict("NO_CREDENTIAL", f"{known.vin} is reached through an IoT API")
    return Enrolment(known.vin, await _set_secret(conn, known.vin, secret))


async def revoke(conn: Connection, vin: str) -> None:
    """Take a vehicle's credential away for good; it stays listed. NotFound, or already revoked."""
    known = await _credential(conn, parse_vin(vin))
    await conn.execute(QUERIES["revoke"], {"vin": known.vin})


async def show(conn: Connection, vin: str) -> Vehicle:
    """One vehicle; NotFound where the registry does not know it."""
    parsed = parse_vin(vin)
    vehicle = await conn.one_or_none(Vehicle, QUERIES["vehicle"], {"vin": parsed})
    if vehicle is None:
        raise _not_found(parsed)
    return vehicle


async def list_vehicles(
    conn: Connection, *, limit: int = 100, after: str | None = None, presence: str | None = None
) -> list[Vehicle]:
    """Vehicles by VIN, from the first one beyond ``after``; ``presence`` keeps only those."""
    return await conn.all(
        Vehicle, QUERIES["vehicles"], {"limit": limit, "after": after, "presence": presence}
    )


async def _credential(conn: Connection, vin: str) -> _Credential:
    known = await conn.one_or_none(_Credential, QUERIES["credential"], {"vin": vin})
    if known is None:
        raise _not_found(vin)
    return known


async def _set_secret(conn: Connection, vin: str, secret: str | None) -> str:
    # Hexadecimal: no sign that a shell or an option parser would take for its own.
    chosen = secret or secrets.token_hex(SECRET_BYTES)
    await conn.execute(QUERIES["set_secret"], {"vin": vin, "secret_hash": hash_password(chosen)})
    return chosen


def _not_found(vin: str) -> NotFound:
    return NotFound("UNKNOWN_VIN", f"the registry does not know the vehicle {vin}")
