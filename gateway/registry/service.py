"""The vehicle registry: who is enrolled, with which credential; plain functions on a connection."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from core.db import Connection, load_queries
from core.errors import Conflict, Invalid, NotFound
from core.ids import parse_vin
from core.passwords import hash_password
from gateway.registry.ca import Issued
from gateway.registry.model import (
    ENROLLED,
    MQTT,
    REVOKED,
    TRANSPORTS,
    Action,
    Certificate,
    Enrolment,
    Event,
    Filters,
    Vehicle,
)
from gateway.registry.vins import ParseVin

QUERIES = load_queries("gateway.registry")

SECRET_BYTES = 24
# Who acts where nobody says: a test, a script, the demo.
PLATFORM = "platform"
MAX_REASON = 200
_NO_FINGERPRINT = ""


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
    again: bool = False,
    actor: str = PLATFORM,
    parse: ParseVin = parse_vin,
) -> Enrolment:
    """Make the registry know a vehicle; one that it knows keeps its data and its secret.

    An ``mqtt`` vehicle without a secret gets ``secret`` or a generated one, unless ``credential``
    is false: then it cannot sign in until :func:`rotate_secret` or :func:`certify`. ``again``: a
    revoked one comes back, with fresh credentials; what was revoked stays so. Invalid: the VIN, the
    model or the transport.
    """
    vin = parse(vin)
    if transport not in TRANSPORTS:
        raise Invalid("UNKNOWN_TRANSPORT", f"transport is one of {', '.join(TRANSPORTS)}")
    if not await conn.value(QUERIES["model_exists"], {"model": model}):
        raise Invalid("UNKNOWN_MODEL", f"the catalogue has no vehicle model {model!r}")
    row = {"vin": vin, "model": model, "firmware": firmware, "transport": transport}
    created = bool(await conn.execute(QUERIES["insert_vehicle"], {**row, "secret_hash": None}))
    if created:
        await _record(conn, actor, "ENROLLED", vin, model=model, transport=transport)
    elif again and await _reinstate(conn, row):
        await _record(conn, actor, "REINSTATED", vin, model=model, transport=transport)
    known = await _credential(conn, vin)
    if (
        not credential
        or known.secret_hash is not None
        or known.transport != MQTT
        or known.status != ENROLLED
    ):
        return Enrolment(vin, None, created=created)
    made = await _set_secret(conn, vin, secret, actor)
    return replace(made, created=created)


async def _reinstate(conn: Connection, row: Mapping[str, Any]) -> bool:
    await conn.execute(QUERIES["forget_session"], row)
    return bool(await conn.execute(QUERIES["reinstate"], row))


async def rotate_secret(
    conn: Connection, vin: str, secret: str | None = None, *, actor: str = PLATFORM
) -> Enrolment:
    """Replace a vehicle's secret by ``secret`` or a generated one, shown this once.

    There is one at a time: the old one ends at once. NotFound: no such vehicle. Conflict: it is
    revoked, or does not sign in to our broker.
    """
    known = await _may_sign_in(conn, vin)
    return await _set_secret(conn, known.vin, secret, actor)


async def certify(
    conn: Connection,
    issued: Issued,
    now: datetime,
    *,
    actor: str = PLATFORM,
    revoke_others: bool = False,
) -> Enrolment:
    """Register a vehicle's certificate; its others stay good until they end, or are revoked here.

    Conflict: the vehicle is revoked, does not sign in to our broker, or the certificate is already
    registered.
    """
    known = await _may_sign_in(conn, issued.vin)
    row = asdict(issued)
    del row["pem"]
    if not await conn.execute(QUERIES["insert_certificate"], {**row, "registered_at": now}):
        raise Conflict("CERTIFICATE_KNOWN", "this certificate is registered already")
    await _record(
        conn,
        actor,
        "CERTIFICATE_ISSUED" if issued.own else "CERTIFICATE_REGISTERED",
        known.vin,
        serial=issued.serial,
        until=issued.not_after.isoformat(),
    )
    if revoke_others:
        number = await conn.execute(
            QUERIES["revoke_certificates"],
            {"vin": known.vin, "reason": "superseded", "keep": issued.fingerprint},
        )
        if number:
            await _record(conn, actor, "CERTIFICATES_REVOKED", known.vin, certificates=number)
    return Enrolment(known.vin, None, issued)


async def revoke(
    conn: Connection, vin: str, *, reason: str | None = None, actor: str = PLATFORM
) -> bool:
    """Take a vehicle's credentials away; it stays listed. False where it was revoked already.

    What is revoked never works again: :func:`enroll` with ``again`` gives new credentials.
    NotFound; Invalid: a reason of more than 200 characters.
    """
    if reason is not None and len(reason) > MAX_REASON:
        raise Invalid("INVALID_REASON", f"a reason has {MAX_REASON} characters at most")
    known = await _credential(conn, parse_vin(vin))
    if known.status == REVOKED:
        return False
    await conn.execute(QUERIES["revoke"], {"vin": known.vin})
    number = await conn.execute(
        QUERIES["revoke_certificates"],
        {"vin": known.vin, "reason": reason or "revoked", "keep": _NO_FINGERPRINT},
    )
    await _record(conn, actor, "REVOKED", known.vin, reason=reason, certificates=number)
    return True


async def show(conn: Connection, vin: str) -> Vehicle:
    """One vehicle; NotFound where the registry does not know it."""
    parsed = parse_vin(vin)
    vehicle = await conn.one_or_none(Vehicle, QUERIES["vehicle"], {"vin": parsed})
    if vehicle is None:
        raise _not_found(parsed)
    return vehicle


async def certificates(conn: Connection, vin: str) -> list[Certificate]:
    """A vehicle's certificates, the oldest first."""
    return await conn.all(Certificate, QUERIES["certificates"], {"vin": parse_vin(vin)})


async def events(conn: Connection, vin: str, *, limit: int = 50) -> list[Event]:
    """What was done to a vehicle's place in the registry: the newest ``limit``, oldest first."""
    return await conn.all(Event, QUERIES["events"], {"vin": parse_vin(vin), "limit": limit})


async def list_vehicles(
    conn: Connection,
    *,
    limit: int = 100,
    after: str | None = None,
    presence: str | None = None,
    filters: Filters | None = None,
) -> list[Vehicle]:
    """Vehicles by VIN, from the first one beyond ``after``, of those that ``filters`` lets by."""
    chosen = asdict(filters or Filters(presence=presence))
    return await conn.all(Vehicle, QUERIES["vehicles"], {**chosen, "limit": limit, "after": after})


async def _may_sign_in(conn: Connection, vin: str) -> _Credential:
    known = await _credential(conn, parse_vin(vin))
    if known.status != ENROLLED:
        raise Conflict(
            "VEHICLE_REVOKED", f"{known.vin} is revoked; enrol it again to let it back in"
        )
    if known.transport != MQTT:
        raise Conflict("NO_CREDENTIAL", f"{known.vin} is reached through an IoT API")
    return known


async def _credential(conn: Connection, vin: str) -> _Credential:
    known = await conn.one_or_none(_Credential, QUERIES["credential"], {"vin": vin})
    if known is None:
        raise _not_found(vin)
    return known


async def _set_secret(conn: Connection, vin: str, secret: str | None, actor: str) -> Enrolment:
    chosen = secret or new_secret()
    hashed = hash_password(chosen)
    await conn.execute(QUERIES["set_secret"], {"vin": vin, "secret_hash": hashed})
    await _record(conn, actor, "SECRET_SET", vin)
    return Enrolment(vin, chosen, secret_hash=hashed)


async def _record(conn: Connection, actor: str, action: Action, vin: str, **detail: Any) -> None:
    await conn.execute(
        QUERIES["insert_event"],
        {"actor": actor, "action": action, "vin": vin, "detail": Jsonb(detail)},
    )


def new_secret() -> str:
    """A random secret of 192 bits. Hexadecimal: no sign that a shell or an option parser takes."""
    return secrets.token_hex(SECRET_BYTES)


def _not_found(vin: str) -> NotFound:
    return NotFound("UNKNOWN_VIN", f"the registry does not know the vehicle {vin}")
