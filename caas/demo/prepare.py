"""What a platform needs before its services start: seed, keys, accounts, and an enrolled fleet."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from api.seed import seed
from caas.demo.layout import Layout
from caas.demo.secrets import STAFF_PASSWORD, spoilt, write_private
from core.clock import SystemClock
from core.db import Connection, Database, load_queries
from core.keys import new_keys_file
from core.settings import DatabaseSettings, load
from gateway.registry import enroll
from gateway.registry.ca import (
    CRL,
    SERVER_CERTIFICATE,
    has_authority,
    init_authority,
    write_server,
)
from gateway.registry.crl_dir import CRL_DIR, publish_crls
from gateway.registry.passwords import read_credentials, write_password_file
from gateway.registry.settings import CaSettings

QUERIES = load_queries("caas")
# Of the broker's certificate.
SERVER_NAMES = ("localhost", "127.0.0.1")

# Mostly the model that has every option, and some of those that lack one.
MODELS = ("AURORA", "AURORA", "AURORA", "BOREAL", "CIERZO")
# World manufacturer and model as letters a VIN may have (no I, O, Q).
VIN_HEADS = {"AURORA": "VF1AUR", "BOREAL": "VF1BRE", "CIERZO": "VF1CRZ"}


@dataclass(frozen=True, slots=True)
class FleetVehicle:
    """A simulated vehicle's line in the fleet file."""

    vin: str
    secret: str
    model: str
    firmware: str


def vin_of(number: int) -> tuple[str, str]:
    """The VIN and the model of the fleet's ``number``-th vehicle, from 0."""
    model = MODELS[number % len(MODELS)]
    return f"{VIN_HEADS[model]}{number + 1:011d}", model


async def prepare_platform(layout: Layout, vehicles: int) -> list[FleetVehicle]:
    """Seed, keys, authority, accounts and fleet; whatever is there already stays as it is."""
    if not layout.keys_file.exists():
        layout.keys_file.parent.mkdir(parents=True, exist_ok=True)
        new_keys_file(layout.keys_file)
    if not has_authority(layout.ca_dir):
        init_authority(layout.ca_dir, SystemClock().now(), load(CaSettings).crl_validity)
    if not (layout.ca_dir / CRL_DIR).exists():  # of an earlier version
        publish_crls(layout.ca_dir, (layout.ca_dir / CRL).read_bytes())
    if not (layout.ca_dir / SERVER_CERTIFICATE).exists():
        write_server(layout.ca_dir, layout.ca_dir, SERVER_NAMES, SystemClock().now())
    write_private(layout.accounts_file, json.dumps(layout.secrets.accounts()))
    admin = Database(load(DatabaseSettings, dsn=layout.dsn), role="caas", service="caas-demo")
    await admin.open()
    try:
        async with admin.transaction() as conn:
            await seed(conn, password=STAFF_PASSWORD, now=SystemClock().now())
            fleet = await _enroll_fleet(conn, _read_fleet(layout), vehicles)
        write_private(layout.fleet_file, json.dumps([asdict(v) for v in fleet], indent=1))
        async with admin.transaction() as conn:
            credentials = await read_credentials(conn)
        write_password_file(layout.passwords_file, credentials, layout.secrets.accounts())
    finally:
        await admin.close()
    return fleet


async def _enroll_fleet(
    conn: Connection, known: Sequence[FleetVehicle], vehicles: int
) -> list[FleetVehicle]:
    fleet = {vehicle.vin: vehicle for vehicle in known}
    firmware = {
        row["code"]: str(row["firmware_version"])
        for row in await conn.dicts(QUERIES["delivered_firmware"])
    }
    for number in range(vehicles):
        vin, model = vin_of(number)
        if vin in fleet:
            continue
        enrolment = await enroll(conn, vin=vin, model=model, firmware=firmware[model])
        assert enrolment.secret is not None, f"{vin} is enrolled, but the fleet file lost it"
        fleet[vin] = FleetVehicle(vin, enrolment.secret, model, firmware[model])
    return list(fleet.values())


def _read_fleet(layout: Layout) -> list[FleetVehicle]:
    if not layout.fleet_file.exists():
        return []
    try:
        lines = json.loads(layout.fleet_file.read_text(encoding="utf-8"))
        return [FleetVehicle(**line) for line in lines]
    except (ValueError, TypeError) as error:
        raise spoilt(layout.fleet_file, error) from None
