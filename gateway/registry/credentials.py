"""Enrolling and rotating as an operator asks for it: a secret, a request, or a certificate."""

from dataclasses import dataclass, replace
from datetime import datetime

from core.db import Connection
from core.errors import Conflict, Invalid
from core.ids import parse_vin
from gateway.registry.ca import Issued, issued, read_bundle, sign_request
from gateway.registry.model import MQTT, Enrolment
from gateway.registry.service import certify, enroll, rotate_secret
from gateway.registry.settings import CaSettings
from gateway.registry.vins import ParseVin
from gateway.registry.x509 import check_external


@dataclass(frozen=True, slots=True)
class Credential:
    """What the vehicle shall sign in with: neither of them = a generated secret.

    ``csr``: its certificate request (PEM or DER), to be signed by our own authority.
    ``certificate``: one (PEM) that an external authority has issued to it.
    """

    csr: bytes | None = None
    certificate: bytes | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """What every change by an operator needs: who it is, the time, the rules."""

    ca: CaSettings
    parse: ParseVin
    now: datetime
    actor: str


async def enroll_with(
    conn: Connection,
    desk: Desk,
    credential: Credential,
    *,
    vin: str,
    model: str,
    firmware: str,
    transport: str = MQTT,
    again: bool = False,
) -> Enrolment:
    """Enrol a vehicle with what it brings; Invalid or Conflict as the parts of it say."""
    certificate = _certificate(desk, desk.parse(vin), credential)
    made = await enroll(
        conn,
        vin=vin,
        model=model,
        firmware=firmware,
        transport=transport,
        credential=certificate is None,
        again=again,
        actor=desk.actor,
        parse=desk.parse,
    )
    if certificate is None:
        return made
    certified = await certify(conn, certificate, desk.now, actor=desk.actor)
    return replace(certified, created=made.created)


async def rotate_with(
    conn: Connection, desk: Desk, credential: Credential, *, vin: str, revoke_others: bool = False
) -> Enrolment:
    """A new secret, which ends the old one at once; or a further certificate.

    A vehicle's other certificates stay good until they end, so that it can take the new one into
    use in its own time; ``revoke_others`` ends them now.
    """
    certificate = _certificate(desk, parse_vin(vin), credential)
    if certificate is not None:
        return await certify(
            conn, certificate, desk.now, actor=desk.actor, revoke_others=revoke_others
        )
    if revoke_others:
        raise Invalid("NO_CERTIFICATE", "only a new certificate can take the place of the others")
    return await rotate_secret(conn, vin, actor=desk.actor)


def _certificate(desk: Desk, vin: str, credential: Credential) -> Issued | None:
    if credential.csr is not None and credential.certificate is not None:
        raise Invalid("TWO_CREDENTIALS", "give a certificate request or a certificate, not both")
    if credential.csr is not None:
        return sign_request(desk.ca, vin, credential.csr, desk.now)
    if credential.certificate is None:
        return None
    if desk.ca.bundle is None:
        raise Conflict("NO_BUNDLE", "no external authority is known here: set CAAS_CA_BUNDLE")
    authorities = read_bundle(desk.ca.bundle)
    found = check_external(credential.certificate, vin, authorities, desk.now)
    return issued(found, vin, own=False)
