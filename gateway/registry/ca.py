"""The authority's files in ``CAAS_CA_DIR``: its key and certificate, the revocation list, servers'.

The broker reads ``ca.crt`` and ``crl.pem``; every file is put in place as a whole.
"""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core.errors import Conflict, Invalid, SettingsError
from gateway.registry.crl_dir import publish_crls
from gateway.registry.settings import CaSettings
from gateway.registry.x509 import (
    Authority,
    Revoked,
    fingerprint_of,
    issue_server,
    issue_vehicle,
    make_crl,
    new_authority,
    new_key,
    pem,
    read_request,
    serial_of,
)

CA_CERTIFICATE = "ca.crt"
CA_KEY = "ca.key"
CRL = "crl.pem"
SERVER_CERTIFICATE, SERVER_KEY = "server.crt", "server.key"
PRIVATE, PUBLIC = 0o600, 0o644
_NAME = "CaaS development CA"


@dataclass(frozen=True, slots=True)
class Issued:
    """A vehicle's certificate, as it is registered and handed out. ``pem`` has no private part."""

    vin: str
    serial: str
    fingerprint: str
    issuer: str
    own: bool
    not_before: datetime
    not_after: datetime
    pem: str


def has_authority(folder: Path) -> bool:
    """Whether all that :func:`init_authority` makes is there."""
    return all((folder / name).exists() for name in (CA_KEY, CA_CERTIFICATE, CRL))


def init_authority(folder: Path, now: datetime, crl_validity: timedelta) -> Authority:
    """Make a key, a certificate and an empty revocation list, or what of them is missing.

    Conflict where all is there; SettingsError where what is there cannot be used.
    """
    if has_authority(folder):
        raise Conflict("CA_EXISTS", f"{folder / CA_KEY} exists: there is an authority")
    folder.mkdir(parents=True, exist_ok=True)
    # The key first, and never over another one: two starts at once agree on one authority, and one
    # that was killed in the middle is taken up from it.
    with contextlib.suppress(FileExistsError):
        write_new(folder / CA_KEY, pem(new_key()))
    if not (folder / CA_CERTIFICATE).exists():
        key = _read_key(folder / CA_KEY)
        replace_file(
            folder / CA_CERTIFICATE, pem(new_authority(_name_of(key), now, key).certificate)
        )
    made = load_authority(folder)
    if not (folder / CRL).exists():
        write_crl(folder, made, [], now, crl_validity)
    return made


def _name_of(key: ec.EllipticCurvePrivateKey) -> str:
    """A name of its own, for a broker may trust two while one is being replaced; by the key alone,
    so that whoever makes its certificate makes the same name."""
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return f"{_NAME} {hashlib.sha256(public).hexdigest()[:8]}"


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SettingsError(f"{path} is no key of an authority of ours")
    return key


def load_authority(folder: Path) -> Authority:
    """Our own authority. Conflict where there is none; SettingsError where it is unusable."""
    key_file, certificate_file = folder / CA_KEY, folder / CA_CERTIFICATE
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except FileNotFoundError:
        raise Conflict("NO_CA", f"no authority in {folder}: run `caas ca init`") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"the authority in {folder} cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or (
        key.public_key() != certificate.public_key()
    ):
        raise SettingsError(f"{key_file} is not the key of {certificate_file}")
    return Authority(certificate, key)


def authority_of(settings: CaSettings) -> Authority:
    """Who issues. Conflict where nobody does: no folder, or an external authority's business."""
    if settings.dir is None:
        raise Conflict("NO_CA", "no certificates here: CAAS_CA_DIR is not set")
    if settings.bundle is not None:
        raise Conflict(
            "EXTERNAL_CA", "CAAS_CA_BUNDLE names an external authority: it issues, we register"
        )
    return load_authority(settings.dir)


def sign_request(settings: CaSettings, vin: str, request: bytes, now: datetime) -> Issued:
    """A certificate for ``vin`` from its request; Conflict or Invalid as its parts say."""
    authority = authority_of(settings)
    key = read_request(request, vin)
    return issued(issue_vehicle(authority, vin, key, now, settings.validity), vin, own=True)


def issued(certificate: x509.Certificate, vin: str, *, own: bool) -> Issued:
    """What is registered of a certificate."""
    return Issued(
        vin=vin,
        serial=serial_of(certificate),
        fingerprint=fingerprint_of(certificate),
        issuer=certificate.issuer.rfc4514_string(),
        own=own,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        pem=pem(certificate).decode(),
    )


def read_bundle(path: Path) -> list[x509.Certificate]:
    """An external authority's certificates; SettingsError where there are none."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"CAAS_CA_BUNDLE: cannot read {path}: {error}") from None


def write_server(
    folder: Path, out: Path, hosts: Sequence[str], now: datetime
) -> tuple[Path, x509.Certificate]:
    """Make ``server.key`` and ``server.crt`` in ``out`` for a broker at ``hosts``."""
    if not all(re.fullmatch(r"[A-Za-z0-9.:*_-]+", host) for host in hosts):
        raise Invalid("INVALID_HOST", f"not all of these are hosts: {' '.join(hosts)}")
    certificate, key = issue_server(load_authority(folder), hosts, now)
    out.mkdir(parents=True, exist_ok=True)
    replace_file(out / SERVER_KEY, pem(key), PRIVATE)
    replace_file(out / SERVER_CERTIFICATE, pem(certificate))
    return out / SERVER_CERTIFICATE, certificate


def write_crl(
    folder: Path,
    authority: Authority,
    revoked: Iterable[Revoked],
    now: datetime,
    validity: timedelta,
) -> x509.CertificateRevocationList:
    """Put a fresh revocation list in place."""
    crl = make_crl(authority, revoked, now, validity, read_crl(folder))
    put_crls(folder, pem(crl))
    return crl


def put_crls(folder: Path, lists: bytes) -> None:
    """Put revocation lists (PEM) where brokers read them: at their start, and at each handshake."""
    publish_crls(folder, lists)
    replace_file(folder / CRL, lists)


def read_crl(folder: Path) -> x509.CertificateRevocationList | None:
    """The list in place; None where there is none that can be read."""
    try:
        return x509.load_pem_x509_crl((folder / CRL).read_bytes())
    except (OSError, ValueError):
        return None


def write_new(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Make a file that was not there, private unless said; FileExistsError where it was."""
    draft = _draft(path, data, mode)
    try:
        os.link(draft, path)
    finally:
        draft.unlink()


def replace_file(path: Path, data: bytes, mode: int = PUBLIC) -> None:
    """Put a file in place at once, so that no reader sees half of it."""
    draft = _draft(path, data, mode)
    try:
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _draft(path: Path, data: bytes, mode: int) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
