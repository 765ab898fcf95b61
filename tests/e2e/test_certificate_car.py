"""A car with a certificate: from its own request, by command line, to a command it carries out."""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509

from caas.bench.door import Door, Sent
from caas.demo.layout import HOST
from caas.demo.platform import PREFIX
from caas.supervisor.processes import wait_until
from core.bus.mqtt5 import Mqtt5Bus
from core.bus.reconnect import BusOptions
from core.db import Database
from core.keys import load_signing_keys
from core.settings import DatabaseSettings, load
from tests.e2e.stage import Stage, stage
from tests.e2e.traces import ROOT
from tests.parts import require

pytestmark = pytest.mark.e2e

VIN = "WAUZZZ8V5KA000059"
DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def platform() -> Iterator[Stage]:
    require("mosquitto")
    with stage(vehicles=0, prefer="mosquitto") as running:
        yield running


async def test_from_its_request_to_a_command_and_shut_out_once_revoked(
    platform: Stage, tmp_path: Path
) -> None:
    certificate, key = certified(platform, tmp_path)
    with drives(platform, tmp_path, certificate, key):
        assert wait_until(lambda: presence(platform) == "ONLINE", DEADLINE_S)
        # Its configuration is what the platform begins from.
        assert wait_until(lambda: reported(platform), DEADLINE_S)
        await command(platform)
        assert wait_until(lambda: results(platform) == ["APPLIED"], DEADLINE_S)
    platform.caas("vehicles", "revoke", VIN, "--reason", "stolen", CAAS_CA_DIR=ca_dir(platform))
    assert wait_until(lambda: listed_as_revoked(platform), DEADLINE_S)
    told = platform.layout.data_dir / "logs" / "broker-log.log"
    before = told.read_text().count("certificate verify failed")
    with drives(platform, tmp_path, certificate, key):
        assert wait_until(
            lambda: told.read_text().count("certificate verify failed") > before, DEADLINE_S
        )
        assert presence(platform) == "OFFLINE"


def ca_dir(platform: Stage) -> str:
    return str(platform.layout.ca_dir)


def certified(platform: Stage, folder: Path) -> tuple[Path, Path]:
    """The car's certificate and key: made by openssl, enrolled by an operator."""
    key, request, certificate = (folder / name for name in ("car.key", "car.csr", "car.crt"))
    subprocess.run(
        ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", str(key), "-out", str(request), "-subj", f"/CN={VIN}"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    platform.caas(
        "vehicles", "enroll", VIN, "--model", "AURORA", "--firmware", "2.4.1",
        "--csr", str(request), "--out", str(certificate), CAAS_CA_DIR=ca_dir(platform),
    )  # fmt: skip
    return certificate, key


@contextmanager
def drives(platform: Stage, folder: Path, certificate: Path, key: Path) -> Generator[None]:
    """The simulator's car at the door for certificates; it knows no secret."""
    layout = platform.layout
    fleet = folder / "fleet.json"
    fleet.write_text(json.dumps([{"vin": VIN, "secret": "none", "model": "AURORA"}]))
    settings = {
        "CAAS_SIM_FLEET_FILE": str(fleet),
        "CAAS_SIM_DATA_DIR": str(folder / "car"),
        "CAAS_SIM_KEYS_URL": layout.url("gateway") + "/.well-known/caas-command-keys.json",
        "CAAS_MQTT_PORT": str(layout.ports["mqtt-certificates"]),
        "CAAS_MQTT_TLS": "true",
        "CAAS_MQTT_CA_FILE": str(layout.ca_dir / "ca.crt"),
        "CAAS_MQTT_CERT_FILE": str(certificate),
        "CAAS_MQTT_KEY_FILE": str(key),
    }
    environment = {name: v for name, v in os.environ.items() if not name.startswith("CAAS_")}
    with (folder / "sim.log").open("wb") as output:
        sim = subprocess.Popen(
            [sys.executable, "-m", "caas", "run", "sim"],
            cwd=ROOT,
            env={**environment, **settings},
            stderr=output,
        )
    try:
        yield
    finally:
        sim.terminate()
        sim.wait(DEADLINE_S)


async def command(platform: Stage) -> None:
    """One, as the OTA engine sends it."""
    layout = platform.layout
    settings = load(DatabaseSettings, dsn=layout.dsn, set_role=True)
    database = Database(settings, role="caas_ota")
    bus = Mqtt5Bus(
        BusOptions(
            "test-ota", HOST, layout.ports["mqtt"], "svc-ota",
            layout.secrets.accounts()["svc-ota"], session_expiry_s=0,
        )
    )  # fmt: skip
    await database.open()
    await bus.start()
    try:
        door = Door(
            database, bus, load_signing_keys(layout.keys_file).current, PREFIX, source="ota"
        )
        for admitted in await door.admit([VIN]):
            await door.publish(admitted, Sent())
    finally:
        await bus.close()
        await database.close()


def listed_as_revoked(platform: Stage) -> bool:
    crl = x509.load_pem_x509_crl((platform.layout.ca_dir / "crl.pem").read_bytes())
    return len(list(crl)) == 1


def presence(platform: Stage) -> str:
    found = platform.rows("SELECT presence FROM gateway.vehicle_v1 WHERE vin = %s", VIN)
    return str(found[0]["presence"]) if found else ""


def reported(platform: Stage) -> bool:
    query = "SELECT 1 FROM gateway.vehicle_state WHERE vin = %s AND reported_at IS NOT NULL"
    return bool(platform.rows(query, VIN))


def results(platform: Stage) -> list[str]:
    query = "SELECT last_result FROM gateway.command_log_v1 WHERE vin = %s"
    return [str(row["last_result"]) for row in platform.rows(query, VIN)]
