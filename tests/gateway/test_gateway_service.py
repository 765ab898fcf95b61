"""The whole service on real Mosquitto and a real database, as a process would run it."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest
from joserfc.jwk import KeySet

import core.jobs
from core.bus import Will
from core.bus.open import open_bus
from core.contracts.bus import Presence, PresenceMessage, encode
from core.contracts.jobs import EnrollVehicle
from core.db import Database
from core.keys import new_keys_file
from core.passwords import PasswordFile
from gateway import registry
from gateway.main import run
from tests.broker_fixtures import RunningBroker, free_port
from tests.gateway.conftest import DEADLINE_S, OTHER_VIN, PREFIX, VIN, eventually


@pytest.fixture
def service(
    seeded: str,
    mosquitto_broker: RunningBroker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> str:
    """The environment of the service; where it answers HTTP."""
    port = free_port()
    for name, value in {
        "CAAS_DB_DSN": seeded,
        "CAAS_DB_SET_ROLE": "true",
        "CAAS_MQTT_HOST": mosquitto_broker.host,
        "CAAS_MQTT_PORT": str(mosquitto_broker.port),
        "CAAS_MQTT_USERNAME": "svc-gateway",
        "CAAS_MQTT_PASSWORD": mosquitto_broker.secrets["svc-gateway"],
        "CAAS_OPS_PORT": str(port),
        "CAAS_SIGNING_KEYS_FILE": str(tmp_path / "keys.json"),
        "CAAS_GATEWAY_PASSWORD_FILE": str(tmp_path / "passwords"),
    }.items():
        monkeypatch.setenv(name, value)
    return f"http://127.0.0.1:{port}"


async def test_enrolled_connected_seen_and_gone(
    service: str,
    seeded: str,
    room: Database,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
) -> None:
    stop = asyncio.Event()
    serving = asyncio.create_task(run(stop))

    async def presence_is(wanted: str) -> None:
        async def holds() -> bool:
            with psycopg.connect(seeded) as conn:
                row = conn.execute(
                    "SELECT presence FROM gateway.vehicle_v1 WHERE vin = %s", [VIN]
                ).fetchone()
            return row == (wanted,)

        await eventually(holds, f"the vehicle is {wanted}")

    try:
        async with httpx.AsyncClient(base_url=service) as http:
            await eventually(lambda: _answers(http, "/healthz", 200), "the service is healthy")
            keys_path = "/.well-known/caas-command-keys.json"
            assert await _answers(http, keys_path, 503)
            keys = new_keys_file(tmp_path / "keys.json")
            published = (await http.get(keys_path)).json()
            assert published == keys.public_set()
            assert all(not key.is_private for key in KeySet.import_key_set(published).keys)
            assert "caas_gateway_vehicles" in (await http.get("/metrics")).text

        async with room.transaction() as conn:
            enrolment = await registry.enroll(conn, vin=VIN, model="AURORA", firmware="2.4.1")
            await core.jobs.defer(conn, EnrollVehicle(OTHER_VIN, "AURORA", "2.4.1"))
        passwords = PasswordFile(tmp_path / "passwords")

        async def written() -> bool:
            return VIN in passwords.read()

        await eventually(written, "the password file has the vehicle")

        async def enrolled() -> bool:
            async with room.transaction() as conn:
                found = await registry.list_vehicles(conn)
            return [vehicle.vin for vehicle in found] == [VIN, OTHER_VIN]

        await eventually(enrolled, "the factory's vehicle is enrolled by its job")

        assert enrolment.secret is not None
        mosquitto_broker.add_user(VIN, enrolment.secret)
        online = PresenceMessage(state=Presence.ONLINE, at=datetime.now(UTC), session="one", boot=1)
        gone = PresenceMessage(state=Presence.OFFLINE, at=online.at, session="one", boot=1)
        topic = f"{PREFIX}/{VIN}/presence"
        vehicle = open_bus(
            mosquitto_broker.settings(VIN), client_id=VIN, will=Will(topic, encode(gone))
        )
        await vehicle.start()
        await vehicle.publish(topic, encode(online), retain=True)
        await presence_is("ONLINE")
        await vehicle.close(drop=True)
        await presence_is("OFFLINE")
    finally:
        stop.set()
        await asyncio.wait_for(serving, DEADLINE_S)


async def _answers(http: httpx.AsyncClient, path: str, status: int) -> bool:
    try:
        return (await http.get(path)).status_code == status
    except httpx.TransportError:
        return False
