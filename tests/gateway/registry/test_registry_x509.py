"""The authority's certificates and lists, held against openssl and against cryptography."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from core.errors import Conflict, DomainError, Invalid, SettingsError
from core.settings import load
from gateway.registry.ca import (
    has_authority,
    init_authority,
    load_authority,
    read_crl,
    sign_request,
    write_crl,
    write_server,
)
from gateway.registry.crl import is_due
from gateway.registry.settings import CaSettings
from gateway.registry.x509 import Revoked, check_external, new_authority, pem, read_request
from tests.gateway.conftest import OTHER_VIN, VIN
from tests.gateway.registry import requests

NOW = datetime.now(UTC).replace(microsecond=0)
WEEK = timedelta(days=7)
SETTINGS_DAYS = 365


@pytest.fixture
def ca(tmp_path: Path) -> CaSettings:
    init_authority(tmp_path / "ca", NOW, WEEK)
    return load(CaSettings, dir=tmp_path / "ca")


def request(key, common_name: str | None = VIN, *, san: str | None = None) -> bytes:
    return requests.request(key, common_name, san=san)


def openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


KEYS = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KEYS)
def test_openssl_takes_what_is_issued_until_it_is_revoked(
    kind: str, ca: CaSettings, tmp_path: Path
) -> None:
    issued = sign_request(ca, VIN, request(KEYS[kind](), san="svc-ota"), NOW)
    folder = ca.dir
    assert folder is not None
    leaf = tmp_path / "vehicle.crt"
    leaf.write_text(issued.pem)
    verify = (
        "verify", "-x509_strict", "-crl_check", "-purpose", "sslclient",
        "-CAfile", str(folder / "ca.crt"), "-CRLfile", str(folder / "crl.pem"), str(leaf),
    )  # fmt: skip
    good = openssl(*verify)
    assert good.returncode == 0, good.stderr
    assert openssl(*[word.replace("sslclient", "sslserver") for word in verify]).returncode != 0
    write_crl(folder, load_authority(folder), [Revoked(issued.serial, NOW)], NOW, WEEK)
    revoked = openssl(*verify)
    assert revoked.returncode != 0
    assert "certificate revoked" in revoked.stderr


def test_a_certificate_says_the_vin_and_nothing_the_request_made_up(ca: CaSettings) -> None:
    data = request(ec.generate_private_key(ec.SECP256R1()), None, san="svc-ota")
    issued = sign_request(ca, VIN, data, NOW)
    certificate = x509.load_pem_x509_certificate(issued.pem.encode())
    assert certificate.subject.rfc4514_string() == f"CN={VIN}"
    with pytest.raises(x509.ExtensionNotFound):
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert issued.not_after == NOW + timedelta(days=SETTINGS_DAYS)
    assert issued.fingerprint == certificate.fingerprint(hashes.SHA256()).hex()
    assert int(issued.serial, 16) == certificate.serial_number


def test_a_certificate_does_not_outlive_its_authority(tmp_path: Path) -> None:
    made = init_authority(tmp_path, NOW, WEEK)
    settings = load(CaSettings, dir=tmp_path, validity_days=7300)
    issued = sign_request(settings, VIN, request(ed25519.Ed25519PrivateKey.generate()), NOW)
    assert issued.not_after == made.certificate.not_valid_after_utc


def forged(data: bytes) -> bytes:
    """The request with another key's signature."""
    lines = x509.load_pem_x509_csr(data).public_bytes(serialization.Encoding.DER)
    return lines[:-1] + bytes([lines[-1] ^ 1])


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: b"", "INVALID_CSR"),
        (lambda: b"-----BEGIN NONSENSE-----", "INVALID_CSR"),
        (lambda: b"0" * 20_000, "INVALID_CSR"),
        (lambda: request(ec.generate_private_key(ec.SECP256R1()), OTHER_VIN), "CSR_OTHER_VIN"),
        (lambda: forged(request(ec.generate_private_key(ec.SECP256R1()))), "CSR_NOT_PROVED"),
        (lambda: request(ec.generate_private_key(ec.SECP384R1())), "CSR_KEY"),
        (lambda: request(rsa.generate_private_key(65537, 1024)), "CSR_KEY"),
        (lambda: request(dsa.generate_private_key(2048)), "CSR_KEY"),
    ],
    ids=["empty", "nonsense", "huge", "other-vin", "forged", "p384", "rsa1024", "dsa"],
)
def test_a_bad_request_is_refused(make, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_request(make(), VIN)
    assert refused.value.code == code


def test_the_key_is_private_and_never_replaced(tmp_path: Path) -> None:
    init_authority(tmp_path, NOW, WEEK)
    key = tmp_path / "ca.key"
    before = key.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Conflict):
        init_authority(tmp_path, NOW, WEEK)
    assert key.read_bytes() == before
    assert (tmp_path / "ca.crt").stat().st_mode & 0o777 == 0o644
    assert {path.name for path in tmp_path.iterdir()} == {"ca.key", "ca.crt", "crl.pem", "crls"}


@pytest.mark.parametrize(
    "missing", [("ca.crt", "crl.pem"), ("crl.pem",)], ids=["after the key", "after the certificate"]
)
def test_a_start_that_was_killed_is_finished(tmp_path: Path, missing: tuple[str, ...]) -> None:
    made = init_authority(tmp_path, NOW, WEEK)
    for name in missing:
        (tmp_path / name).unlink()
    assert not has_authority(tmp_path)
    finished = init_authority(tmp_path, NOW, WEEK)
    assert has_authority(tmp_path)
    assert finished.key.private_numbers() == made.key.private_numbers()
    # By the key alone: what the first start has issued meanwhile stays good.
    assert finished.certificate.subject == made.certificate.subject
    crl = read_crl(tmp_path)
    assert crl is not None
    assert crl.is_signature_valid(finished.certificate.public_key())  # pyright: ignore[reportArgumentType]
    assert load_authority(tmp_path).certificate == finished.certificate
    with pytest.raises(Conflict):
        init_authority(tmp_path, NOW, WEEK)


def test_two_authorities_have_two_names(tmp_path: Path) -> None:
    one, other = (init_authority(tmp_path / name, NOW, WEEK) for name in ("one", "other"))
    assert one.certificate.subject != other.certificate.subject


ED25519 = ed25519.Ed25519PrivateKey.generate().private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
)


@pytest.mark.parametrize("key", [b"nonsense", ED25519], ids=["nonsense", "ed25519"])
def test_a_key_that_cannot_be_used_is_not_finished(tmp_path: Path, key: bytes) -> None:
    (tmp_path / "ca.key").write_bytes(key)
    with pytest.raises(SettingsError):
        init_authority(tmp_path, NOW, WEEK)
    assert not (tmp_path / "ca.crt").exists()


def test_what_is_no_authority_says_so(tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        load_authority(tmp_path)
    init_authority(tmp_path, NOW, WEEK)
    (tmp_path / "ca.crt").write_bytes(pem(new_authority("another", NOW).certificate))
    with pytest.raises(SettingsError):
        load_authority(tmp_path)
    (tmp_path / "ca.crt").write_text("nonsense")
    with pytest.raises(SettingsError):
        load_authority(tmp_path)


def test_a_server_certificate_is_for_its_hosts_only(ca: CaSettings, tmp_path: Path) -> None:
    assert ca.dir is not None
    path, _ = write_server(ca.dir, tmp_path / "out", ["broker.example", "127.0.0.1"], NOW)
    assert (tmp_path / "out" / "server.key").stat().st_mode & 0o777 == 0o600
    verify = ("verify", "-purpose", "sslserver", "-CAfile", str(ca.dir / "ca.crt"))
    for name in (("-verify_hostname", "broker.example"), ("-verify_ip", "127.0.0.1")):
        assert openssl(*verify, *name, str(path)).returncode == 0
    assert openssl(*verify, "-verify_hostname", "else.example", str(path)).returncode != 0
    with pytest.raises(Invalid):
        write_server(ca.dir, tmp_path / "out", ["not a host"], NOW)


def test_a_list_is_made_anew_for_a_revocation_and_at_half_its_time(ca: CaSettings) -> None:
    assert ca.dir is not None
    authority = load_authority(ca.dir)
    gone = Revoked("abc", NOW)
    crl = write_crl(ca.dir, authority, [gone], NOW, WEEK)
    assert not is_due(crl, authority, [gone], NOW + WEEK / 3)
    assert is_due(crl, authority, [gone], NOW + WEEK / 2)
    assert is_due(crl, authority, [], NOW)
    assert is_due(crl, authority, [gone, Revoked("abd", NOW)], NOW)
    assert is_due(None, authority, [gone], NOW)
    assert is_due(crl, new_authority("another", NOW), [gone], NOW)
    later = write_crl(ca.dir, authority, [], NOW + timedelta(seconds=1), WEEK)
    numbers = [
        item.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        for item in (crl, later)
    ]
    assert numbers == sorted(set(numbers))


def test_an_external_certificate_must_be_the_vehicles_and_of_the_bundle(tmp_path: Path) -> None:
    theirs = load(CaSettings, dir=tmp_path)
    trusted = init_authority(tmp_path, NOW, WEEK).certificate
    data = sign_request(
        theirs, VIN, request(ed25519.Ed25519PrivateKey.generate()), NOW
    ).pem.encode()
    assert check_external(data, VIN, [trusted], NOW).not_valid_after_utc > NOW
    stranger = new_authority(trusted.subject.rfc4514_string().removeprefix("CN="), NOW).certificate
    later = NOW + timedelta(days=SETTINGS_DAYS + 1)
    for certificate, vin, bundle, now in (
        (data, OTHER_VIN, [trusted], NOW),
        (data, VIN, [stranger], NOW),
        (data, VIN, [], NOW),
        (data, VIN, [trusted], later),
        (pem(trusted), VIN, [trusted], NOW),
        (b"nonsense", VIN, [trusted], NOW),
    ):
        with pytest.raises(DomainError):
            check_external(certificate, vin, bundle, now)
