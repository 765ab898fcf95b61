"""Certificates as pure functions: an authority, a vehicle's signed request, a revocation list.

No files and no database: `ca.py` and `certificates.py` have those.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from core.errors import Invalid

MIN_RSA_BITS = 2048
# A larger one only costs whoever verifies it.
MAX_RSA_BITS = 8192
CA_VALIDITY = timedelta(days=3650)
SERVER_VALIDITY = timedelta(days=825)
# A vehicle's clock may be a little behind.
_BACKDATE = timedelta(minutes=5)
_MAX_REQUEST_BYTES = 16 * 1024
_WEAK_HASHES = (hashes.MD5, hashes.SHA1)

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: its certificate and the key that signs."""

    certificate: x509.Certificate
    key: PrivateKey


@dataclass(frozen=True, slots=True)
class Revoked:
    """An entry of the revocation list; ``serial`` is hexadecimal."""

    serial: str
    at: datetime


def new_key() -> PrivateKey:
    """A fresh one of ECDSA P-256, which every TLS library of a control unit has."""
    return ec.generate_private_key(ec.SECP256R1())


def new_authority(name: str, now: datetime, key: PrivateKey | None = None) -> Authority:
    """A fresh one, or of the key."""
    key = key or new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, subject, key.public_key(), now, now + CA_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(cert_sign=True), critical=True)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def read_request(data: bytes, vin: str) -> PublicKey:
    """The public key of a certificate request (PEM or DER) for ``vin``.

    Invalid: unreadable, not signed by its own key (no proof of possession), another vehicle's
    common name, or a key that is none of Ed25519, ECDSA P-256 and RSA of 2048 bits or more.
    """
    request = _load_request(data)
    try:
        hashed = request.signature_hash_algorithm
        proved = request.is_signature_valid and not isinstance(hashed, _WEAK_HASHES)
        key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
        raise Invalid("INVALID_CSR", "the request's key or signature cannot be read") from None
    if not proved:
        raise Invalid("CSR_NOT_PROVED", "the request is not signed by the key it is for")
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if any(name.value != vin for name in names):
        raise Invalid("CSR_OTHER_VIN", f"the request's common name is not {vin}")
    return _usable_key(key)


def issue_vehicle(
    authority: Authority, vin: str, key: PublicKey, now: datetime, validity: timedelta
) -> x509.Certificate:
    """A client certificate whose only name is the VIN; whatever else a request asked for is not in.

    It never outlives its authority.
    """
    ends = min(now + validity, authority.certificate.not_valid_after_utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, vin)])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = _leaf(authority, subject, key, now, ends).add_extension(usage, critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def issue_server(
    authority: Authority, hosts: Sequence[str], now: datetime
) -> tuple[x509.Certificate, PrivateKey]:
    """A server certificate for host names and IP addresses, and its fresh key. Invalid: a name."""
    if not hosts:
        raise Invalid("NO_HOST", "a server certificate needs at least one host")
    key = ec.generate_private_key(ec.SECP256R1())
    ends = min(now + SERVER_VALIDITY, authority.certificate.not_valid_after_utc)
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    # The names are in the extension; a common name is short (64), and nobody reads it any more.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    builder = _leaf(authority, subject, key.public_key(), now, ends)
    builder = builder.add_extension(usage, critical=False).add_extension(names, critical=False)
    return builder.sign(authority.key, hashes.SHA256()), key


def make_crl(
    authority: Authority,
    revoked: Iterable[Revoked],
    now: datetime,
    validity: timedelta,
    before: x509.CertificateRevocationList | None = None,
) -> x509.CertificateRevocationList:
    """The list of revoked certificates as of ``now``, good for ``validity``.

    It begins later than the one ``before`` it, by a second at least: of two that begin at the same
    second OpenSSL goes by the one it read first.
    """
    begins = now - _BACKDATE
    if before is not None:
        begins = max(begins, before.last_update_utc + timedelta(seconds=1))
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(begins)
        .next_update(now + validity)
        # Only ever rises, and needs no place to be remembered in.
        .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
        .add_extension(_authority_id(authority), critical=False)
    )
    for entry in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(int(entry.serial, 16))
            .revocation_date(entry.at)
            .build()
        )
    return builder.sign(authority.key, hashes.SHA256())


def check_external(
    data: bytes, vin: str, authorities: Sequence[x509.Certificate], now: datetime
) -> x509.Certificate:
    """A vehicle's certificate (PEM) from an external authority, if it is one.

    Invalid: unreadable, another common name, not for clients, out of its time, or not issued by one
    of ``authorities``.
    """
    try:
        certificate = x509.load_pem_x509_certificate(data)
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid("INVALID_CERTIFICATE", "that is no certificate in PEM") from None
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if [name.value for name in names] != [vin]:
        raise Invalid("CERTIFICATE_OTHER_VIN", f"the certificate's common name is not {vin}")
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise Invalid("CERTIFICATE_EXPIRED", "the certificate is not valid at present")
    if not _is_for_clients(certificate):
        raise Invalid("CERTIFICATE_USAGE", "the certificate is not one for TLS clients")
    if not any(_issued(certificate, authority) for authority in authorities):
        raise Invalid("CERTIFICATE_ISSUER", "none of the bundle's authorities issued it")
    return certificate


def serial_of(certificate: x509.Certificate) -> str:
    """The serial number in hexadecimal."""
    return f"{certificate.serial_number:x}"


def fingerprint_of(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER form, in hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def pem(thing: x509.Certificate | x509.CertificateRevocationList | PrivateKey) -> bytes:
    """The PEM form; a key's is PKCS #8, not encrypted."""
    if isinstance(thing, ec.EllipticCurvePrivateKey):
        return thing.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    return thing.public_bytes(serialization.Encoding.PEM)


def _load_request(data: bytes) -> x509.CertificateSigningRequest:
    if len(data) > _MAX_REQUEST_BYTES:
        raise Invalid("INVALID_CSR", f"a request has {_MAX_REQUEST_BYTES} bytes at most")
    try:
        if data.lstrip().startswith(b"-----"):
            return x509.load_pem_x509_csr(data)
        return x509.load_der_x509_csr(data)
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid("INVALID_CSR", "that is no certificate request (PKCS #10)") from None


def _usable_key(key: object) -> PublicKey:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, rsa.RSAPublicKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return key
    raise Invalid(
        "CSR_KEY", f"the key must be Ed25519, ECDSA P-256, or RSA of {MIN_RSA_BITS} bits or more"
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, starts: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts - _BACKDATE)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _leaf(
    authority: Authority, subject: x509.Name, key: PublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        _builder(subject, authority.certificate.subject, key, now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signature=True), critical=True)
        .add_extension(_authority_id(authority), critical=False)
    )


def _authority_id(authority: Authority) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())


def _key_usage(*, signature: bool = False, cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signature,
        key_cert_sign=cert_sign,
        crl_sign=cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise Invalid("INVALID_HOST", f"{host!r} is no host name in ASCII") from None


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except ValueError:
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound, UnsupportedAlgorithm):
        return False
    return constraints.ca
