"""The folder of revocation lists, held against openssl's own names and its own look-up."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.registry.ca import init_authority, load_authority, write_crl
from gateway.registry.crl_dir import CRL_DIR, name_hash, publish_crls
from gateway.registry.x509 import Revoked

NOW = datetime.now(UTC).replace(microsecond=0)
WEEK = timedelta(days=7)

NAMES = {
    "plain": [(NameOID.COMMON_NAME, "CaaS development CA 1a2b")],
    "blanks and case": [(NameOID.COMMON_NAME, "  An   AUTHORITY of\tVehicles ")],
    "long": [(NameOID.ORGANIZATION_NAME, "Ä" * 64), (NameOID.COMMON_NAME, "Fahrzeuge")],
    "many": [
        (NameOID.COUNTRY_NAME, "ES"),
        (NameOID.ORGANIZATION_NAME, "Motores Ñandú S.A."),
        (NameOID.EMAIL_ADDRESS, "PKI@example.com"),
        (NameOID.SERIAL_NUMBER, "A 17"),
    ],
}


@pytest.mark.parametrize("kind", NAMES)
def test_the_hash_is_openssls(kind: str, tmp_path: Path) -> None:
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in NAMES[kind]])
    assert name_hash(name) == openssl_hash(name, tmp_path)


def test_the_hash_of_a_name_with_two_values_in_one_place(tmp_path: Path) -> None:
    both = [
        x509.NameAttribute(NameOID.SERIAL_NUMBER, "9"),
        x509.NameAttribute(NameOID.COMMON_NAME, "Z"),
    ]
    name = x509.Name([x509.RelativeDistinguishedName(both)])
    assert name_hash(name) == openssl_hash(name, tmp_path)


def test_lists_are_numbered_without_a_gap_and_the_last_one_counts(tmp_path: Path) -> None:
    authority = init_authority(tmp_path, NOW, WEEK)
    issuer = name_hash(authority.certificate.subject)
    for number in range(1, 4):
        revoked = [Revoked(f"{serial + 1:x}", NOW) for serial in range(number)]
        write_crl(tmp_path, authority, revoked, NOW + timedelta(seconds=number), WEEK)
    directory = tmp_path / CRL_DIR
    assert sorted(p.name for p in directory.iterdir()) == [f"{issuer}.r{n}" for n in range(4)]
    sizes = [
        len(list(x509.load_pem_x509_crl((directory / f"{issuer}.r{n}").read_bytes())))
        for n in range(4)
    ]
    assert sizes == [0, 0, 0, 3]
    assert not publish_crls(tmp_path, (tmp_path / "crl.pem").read_bytes())
    assert all(p.stat().st_mode & 0o444 == 0o444 for p in directory.iterdir())


def test_of_two_lists_of_one_second_the_later_one_counts(tmp_path: Path) -> None:
    """openssl goes by the first of two that begin at the same second."""
    authority = init_authority(tmp_path, NOW, WEEK)
    begins = [
        write_crl(tmp_path, authority, [Revoked("1", NOW)], NOW, WEEK).last_update_utc
        for _ in range(3)
    ]
    assert begins == sorted(set(begins))
    assert begins[-1] < NOW


def test_lists_of_two_authorities_in_one_file_are_told_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        init_authority(folder, NOW, WEEK)
    both = b"".join((folder / "crl.pem").read_bytes() for folder in folders)
    assert publish_crls(tmp_path / "both", both)
    assert not publish_crls(tmp_path / "both", both)
    names = {name_hash(load_authority(folder).certificate.subject) for folder in folders}
    assert {p.name for p in (tmp_path / "both" / CRL_DIR).iterdir()} == {f"{n}.r0" for n in names}


def openssl_hash(name: x509.Name, folder: Path) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + WEEK)
        .sign(key, hashes.SHA256())
    )
    path = folder / "name.crt"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()
