"""The whole service on real Mosquitto and a real database, as a process would run it."""

import asyncio
from pathlib import Path

import httpx
import psycopg
import pytest

from core.bus import Subscription
from core.bus.open import open_bus
from core.contracts.bus import Sample, Stored, TelemetryBatch, decode, encode
from telemetry.main import run
from tests.broker_fixtures import RunningBroker, free_port
from tests.telemetry.conftest import DEADLINE_S, PREFIX, VIN, enroll, eventually, now_ms


@pytest.fixture
def service_environment(
    database: str,
    mosquitto_broker: RunningBroker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> str:
    """The environment of the service; where it answers HTTP."""
    port = free_port()
    for name, value in {
        "CAAS_DB_DSN": database,
        "CAAS_DB_SET_ROLE": "true",
        "CAAS_MQTT_HOST": mosquitto_broker.host,
        "CAAS_MQTT_PORT": str(mosquitto_broker.port),
        "CAAS_MQTT_USERNAME": "svc-telemetry",
        "CAAS_MQTT_PASSWORD": mosquitto_broker.secrets["svc-telemetry"],
        "CAAS_OPS_PORT": str(port),
        "CAAS_TELEMETRY_RECEIPT_EVERY_S": "0.3",
    }.items():
        monkeypatch.setenv(name, value)
    return f"http://127.0.0.1:{port}"


async def test_from_a_vehicle_to_the_table_and_back_its_receipt(
    service_environment: str, database: str, mosquitto_broker: RunningBroker
) -> None:
    enroll(database, VIN)
    mosquitto_broker.add_user(VIN)
    stop = asyncio.Event()
    serving = asyncio.create_task(run(stop))
    vehicle = open_bus(
        mosquitto_broker.settings(VIN),
        client_id=VIN,
        subscriptions=[Subscription(f"{PREFIX}/{VIN}/stored")],
    )
    await vehicle.start()
    try:
        async with httpx.AsyncClient(base_url=service_environment) as http:

            async def healthy() -> bool:
                try:
                    return (await http.get("/healthz")).json()["healthy"]
                except httpx.TransportError:
                    return False

            await eventually(healthy, "the service is healthy")
            batch = TelemetryBatch(boot=3, n=0, samples=[Sample(t=now_ms(), speed_kmh=50.0)])
            await vehicle.publish(f"{PREFIX}/{VIN}/telemetry", encode(batch))
            receipt = await asyncio.wait_for(anext(vehicle.messages()), DEADLINE_S)
            assert decode(Stored, receipt.payload) == Stored(boot=3, n=0)
            metrics = (await http.get("/metrics")).text
            assert "caas_telemetry_samples_stored_total" in metrics
        with psycopg.connect(database) as conn:
            rows = conn.execute("SELECT vin, speed_kmh FROM telemetry.latest_v1").fetchall()
        assert rows == [(VIN, 50.0)]
    finally:
        stop.set()
        await asyncio.wait_for(serving, DEADLINE_S)
        await vehicle.close()


async def test_it_starts_without_its_database_and_says_so(
    service_environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAAS_DB_DSN", f"postgresql://caas@127.0.0.1:{free_port()}/nowhere")
    monkeypatch.setenv("CAAS_DB_CONNECT_TIMEOUT_S", "0.3")
    stop = asyncio.Event()
    serving = asyncio.create_task(run(stop))
    try:
        async with httpx.AsyncClient(base_url=service_environment) as http:

            async def says_so() -> bool:
                try:
                    answer = await http.get("/healthz")
                except httpx.TransportError:
                    return False
                parts = answer.json()["parts"]
                return answer.status_code == 503 and "DATABASE" in parts["database"]

            await eventually(says_so, "the health page names the database")
    finally:
        stop.set()
        await asyncio.wait_for(serving, DEADLINE_S)
