"""`caas ca …` and `caas vehicles …` as an operator types them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from typer.testing import CliRunner, Result

from caas.cli import app
from core.errors import DomainError
from tests.gateway.conftest import OTHER_VIN, VIN
from tests.gateway.registry.requests import request

Caas = Callable[..., Result]
ENROLL = ("--model", "AURORA", "--firmware", "2.4.1")


@pytest.fixture
def caas(seeded: str, tmp_path: Path) -> Caas:
    """Runs the command line on the database, with an authority's folder."""
    env = {
        "CAAS_DB_DSN": seeded,
        "CAAS_DB_SET_ROLE": "true",
        "CAAS_CA_DIR": str(tmp_path / "ca"),
    }

    def call(*arguments: str) -> Result:
        done = CliRunner().invoke(app, [*arguments], env=env)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done

    return call


def test_from_the_authority_to_a_revoked_certificate(caas: Caas, tmp_path: Path) -> None:
    caas("ca", "init")
    caas("ca", "init", "--if-missing")
    assert "server.crt" in caas("ca", "server", "broker.example", "127.0.0.1").output
    asked = tmp_path / "vehicle.csr"
    asked.write_bytes(request(ed25519.Ed25519PrivateKey.generate(), VIN))
    out = tmp_path / "vehicle.crt"
    made = json.loads(
        caas("vehicles", "enroll", VIN, *ENROLL, "--csr", str(asked), "--out", str(out), "--json")
        .stdout
    )  # fmt: skip
    certificate = x509.load_pem_x509_certificate(out.read_bytes())
    assert made["secret"] is None
    assert int(made["certificate"]["serial"], 16) == certificate.serial_number
    expiring = caas("vehicles", "list", "--expiring", "366").output.splitlines()[1]
    assert expiring.startswith(f" {VIN} ")
    assert expiring.rstrip().endswith(f"certificate ({certificate.not_valid_after_utc.date()})")
    assert json.loads(caas("vehicles", "list", "--expiring", "30", "--json").stdout) == []
    caas("vehicles", "revoke", VIN, "--reason", "stolen")
    assert "written" in caas("ca", "crl").output
    assert "up to date" in caas("ca", "crl").output
    crl = x509.load_pem_x509_crl((tmp_path / "ca" / "crl.pem").read_bytes())
    assert crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
    shown = caas("vehicles", "show", VIN).output
    assert "stolen" in shown
    assert "cli:" in shown
    facts = json.loads(caas("vehicles", "show", VIN, "--json").stdout)
    assert facts["enrolment"] == "REVOKED"
    assert [event["action"] for event in facts["events"]][-1] == "REVOKED"


def test_a_certificate_goes_to_a_new_file_or_nothing_does(caas: Caas, tmp_path: Path) -> None:
    caas("ca", "init")
    asked = tmp_path / "vehicle.csr"
    asked.write_bytes(request(ed25519.Ed25519PrivateKey.generate(), VIN))
    kept = tmp_path / "kept.crt"
    kept.write_text("of somebody else")
    with pytest.raises(DomainError) as refused:
        caas("vehicles", "enroll", VIN, *ENROLL, "--csr", str(asked), "--out", str(kept))
    assert refused.value.code == "FILE_EXISTS"
    assert kept.read_text() == "of somebody else"
    out = tmp_path / "vehicle.crt"
    with pytest.raises(DomainError):
        caas(
            "vehicles", "enroll", VIN, "--model", "NONE", "--firmware", "1",
            "--csr", str(asked), "--out", str(out),
        )  # fmt: skip
    assert not out.exists()
    with pytest.raises(FileNotFoundError):
        caas(
            "vehicles", "enroll", VIN, *ENROLL, "--csr", str(asked),
            "--out", str(tmp_path / "no folder" / "vehicle.crt"),
        )  # fmt: skip
    assert json.loads(caas("vehicles", "list", "--json").stdout) == []
    caas("vehicles", "enroll", VIN, *ENROLL, "--csr", str(asked), "--out", str(out))
    assert out.stat().st_mode & 0o777 == 0o644
    assert [
        row["vin"]
        for row in json.loads(caas("vehicles", "list", "--model", "AURORA", "--json").stdout)
    ] == [VIN]
    assert json.loads(caas("vehicles", "list", "--model", "aurora", "--json").stdout) == []


def test_secrets_are_labelled_and_the_way_back_is_named(caas: Caas) -> None:
    first = caas("vehicles", "enroll", VIN, *ENROLL).output
    assert f"VIN          {VIN}" in first
    assert "secret       " in first
    assert "caas vehicles rotate" in caas("vehicles", "enroll", VIN, *ENROLL).output
    caas("vehicles", "revoke", VIN)
    assert "already" in caas("vehicles", "revoke", VIN).output
    assert "--again" in caas("vehicles", "enroll", VIN, *ENROLL).output
    assert "secret       " in caas("vehicles", "enroll", VIN, *ENROLL, "--again").output
    rotated = json.loads(caas("vehicles", "rotate", VIN, "--json").stdout)
    assert rotated["secret"] not in first


def test_a_list_goes_on_where_it_ended(caas: Caas) -> None:
    for vin in (VIN, OTHER_VIN):
        caas("vehicles", "enroll", vin, *ENROLL)
    page = caas("vehicles", "list", "--limit", "1").output
    assert f"--after {VIN}" in page
    rest = json.loads(caas("vehicles", "list", "--after", VIN, "--json").stdout)
    assert [row["vin"] for row in rest] == [OTHER_VIN]
    found = json.loads(caas("vehicles", "list", "--search", OTHER_VIN.lower(), "--json").stdout)
    assert [row["vin"] for row in found] == [OTHER_VIN]


def test_an_import_says_what_became_of_each_line(caas: Caas, tmp_path: Path) -> None:
    file, secrets = tmp_path / "fleet.csv", tmp_path / "secrets.csv"
    file.write_text(f"vin,model,firmware\n{VIN},AURORA,2.4.1\nnonsense\n{OTHER_VIN},AURORA,2.4.1\n")
    done = caas("vehicles", "import", str(file), "--secrets", str(secrets))
    assert "line 3: 1 fields" in done.output
    assert "3 lines: 2 imported, 0 known already, 0 repeated, 1 refused" in done.output
    assert secrets.stat().st_mode & 0o777 == 0o600
    assert [line.split(",")[0] for line in secrets.read_text().split()] == ["vin", VIN, OTHER_VIN]
    with pytest.raises(DomainError):
        caas("vehicles", "import", str(file), "--secrets", str(secrets))
    with pytest.raises(DomainError):
        caas("vehicles", "import", str(file), "--strict")
    again = json.loads(caas("vehicles", "import", str(file), "--json").stdout)
    assert (again["imported"], again["known"]) == (0, 2)
    assert again["bad"] == [{"line": 3, "reason": "1 fields where the header has 3"}]


def test_a_check_digit_is_asked_for_where_the_market_uses_it(caas: Caas) -> None:
    with pytest.raises(DomainError) as refused:
        caas("vehicles", "enroll", "1M8GDM9A0KP042788", *ENROLL)
    assert refused.value.code == "INVALID_CHECK_DIGIT"
    caas("vehicles", "enroll", "1M8GDM9AXKP042788", *ENROLL)


def test_a_servers_certificate_is_renewed_where_it_is_due(caas: Caas, tmp_path: Path) -> None:
    caas("ca", "init")
    assert "made" in caas("ca", "server", "broker.example", "--if-missing").output
    made = (tmp_path / "ca" / "server.crt").read_bytes()
    assert caas("ca", "server", "broker.example", "--if-missing").output == ""
    assert (tmp_path / "ca" / "server.crt").read_bytes() == made
    assert "made" in caas("ca", "server", "broker.example").output
    assert (tmp_path / "ca" / "server.crt").read_bytes() != made
