"""Drift and its correction with real processes: a simulated car, Mosquitto, gateway and engine."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from joserfc.jwk import KeySet
from psycopg.rows import dict_row

from core.clock import SystemClock
from core.contracts.bus import ParameterSetting
from core.contracts.jobs import Job, RequestActivation, WithdrawActivation
from core.contracts.states import Origin
from core.ids import new_id
from core.jobs import defer
from core.keys import new_keys_file
from tests.broker_fixtures import RunningBroker, free_port
from tests.ota_engine.world import PREFIX, World, open_world
from tests.vehicle_sim.harness import sim_settings
from vehicle_sim.firmware import firmware_of, seed_catalogue
from vehicle_sim.keys import KeyRing
from vehicle_sim.main import vehicle_bus
from vehicle_sim.tally import Tally
from vehicle_sim.vehicle import Vehicle
from vehicle_sim.vehicle import World as SimWorld

VIN = "VF1AURRA000000777"
DEADLINE_S = 60.0
POWER = "ENGINE_CONTROL.power_mode"
MAIN = """
import asyncio, importlib, sys
from core.ops import stop_on_signals

async def main():
    await importlib.import_module(sys.argv[1]).run(stop_on_signals())

asyncio.run(main())
"""
# A failed switch-off is to take seconds; everything else as it is.
QUICK = {
    "CAAS_OTA_COMMAND_TIMEOUT_S": "3",
    "CAAS_OTA_STATUS_TIMEOUT_S": "1",
    "CAAS_OTA_BASE_DELAY_S": "0.5",
    "CAAS_OTA_MAX_RETRIES": "1",
    "CAAS_OTA_CHECK_POLL_S": "0.5",
    "CAAS_JOBS_POLL_S": "0.2",
}


async def eventually(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await holds():
        assert time.monotonic() < deadline, f"timed out: {what}"
        await asyncio.sleep(0.05)


@pytest.fixture
async def real(database: str) -> AsyncIterator[World]:
    made = await open_world(database, SystemClock())
    await made.vehicle("OFFLINE", vin=VIN)
    yield made
    await made.database.close()


@pytest.fixture
def services(real: World, mosquitto_broker: RunningBroker, tmp_path: Path) -> Iterator[KeySet]:
    """Gateway and engine, each a process; the keys they sign with."""
    keys = new_keys_file(tmp_path / "keys.json")
    started: list[subprocess.Popen[bytes]] = []
    for module, user in (("gateway.main", "svc-gateway"), ("ota_engine.main", "svc-ota")):
        environment = {
            **os.environ,
            **QUICK,
            "CAAS_DB_DSN": real.dsn,
            "CAAS_DB_SET_ROLE": "true",
            "CAAS_MQTT_HOST": mosquitto_broker.host,
            "CAAS_MQTT_PORT": str(mosquitto_broker.port),
            "CAAS_MQTT_USERNAME": user,
            "CAAS_MQTT_PASSWORD": mosquitto_broker.secrets[user],
            "CAAS_SIGNING_KEYS_FILE": str(tmp_path / "keys.json"),
            "CAAS_OPS_PORT": str(free_port()),
        }
        started.append(subprocess.Popen([sys.executable, "-c", MAIN, module], env=environment))
    yield keys.verifier()
    for process in started:
        process.send_signal(signal.SIGTERM)
    assert [process.wait(DEADLINE_S) for process in started] == [0, 0]


@pytest.fixture
async def vehicle(
    services: KeySet, mosquitto_broker: RunningBroker, tmp_path: Path
) -> AsyncIterator[Vehicle]:
    secret = mosquitto_broker.add_user(VIN)

    async def fetch() -> KeySet:
        return services

    world = SimWorld(
        sim_settings(tmp_path / "car"),
        PREFIX,
        vehicle_bus(mosquitto_broker.settings(VIN)),
        KeyRing(fetch),
        SystemClock(),
        Tally(),
    )
    made = Vehicle(VIN, secret, firmware_of(seed_catalogue(), "AURORA"), world)
    life = asyncio.create_task(made.run())
    yield made
    life.cancel()
    await asyncio.wait({life})


class Story:
    """What happens to the car, and what the platform knows of it."""

    def __init__(self, real: World, vehicle: Vehicle) -> None:
        self.real = real
        self.vehicle = vehicle

    async def put(self, job: Job) -> None:
        async with self.real.database.transaction() as conn:
            await defer(conn, job)

    async def buy(self) -> RequestActivation:
        job = RequestActivation(
            activation_id=new_id(),
            vin=VIN,
            service_code="PERF_BOOST_50",
            origin=Origin.PURCHASE,
            purchased_at=datetime.now(UTC),
            customer_id=new_id(),
            payment_id=new_id(),
            duration_days=7,
        )
        await self.put(job)

        async def active() -> bool:
            with contextlib.suppress(IndexError):
                return await self.real.state(job) == "ACTIVE"
            return False

        await eventually(active, "the service is active")
        return job

    async def power_is(self, value: str) -> None:
        async def holds() -> bool:
            return self.vehicle.unit.state.values[POWER] == value

        await eventually(holds, f"power is {value}")

    async def drift_is_over(self, number: int) -> dict[str, Any]:
        async def over() -> bool:
            found = await self.drifts()
            return len(found) == number and found[-1]["closed_at"] is not None

        await eventually(over, f"drift {number} is closed")
        return (await self.drifts())[-1]

    async def drifts(self) -> list[dict[str, Any]]:
        async with await psycopg.AsyncConnection.connect(self.real.dsn) as conn:
            cursor = conn.cursor(row_factory=dict_row)
            await cursor.execute("SELECT * FROM gateway.drift_v1 ORDER BY opened_at")
            return await cursor.fetchall()


async def test_a_hand_a_new_unit_and_a_missed_switch_off(real: World, vehicle: Vehicle) -> None:
    """Each is found at the car's next report, and set right by signed commands, without charge."""
    story = Story(real, vehicle)
    job = await story.buy()
    vehicle.set_values([ParameterSetting("ENGINE_CONTROL", "power_mode", "NORMAL")])
    drift = await story.drift_is_over(1)
    assert (drift["cause"], drift["ended"]) == ("CHANGED_IN_VEHICLE", "CORRECTED")
    assert vehicle.unit.state.values[POWER] == "HIGH"
    # The end that was paid for came along with the correction.
    end = (await real.activation(job.activation_id))["expires_at"]
    assert [timer.at for timer in vehicle.unit.state.timers] == [end]

    vehicle.replace_unit(firmware_of(seed_catalogue(), "AURORA"))
    drift = await story.drift_is_over(2)
    assert (drift["cause"], drift["ended"]) == ("UNIT_REPLACED", "CORRECTED")
    await story.power_is("HIGH")
    assert len(await real.deferred("api.capture_payment")) == 1

    # No worker runs here, and its jobs on this activation would hold up ours.
    await real.sql("UPDATE jobs.procrastinate_jobs SET lock = NULL WHERE queue_name = 'api'")
    vehicle.go_offline(3600)
    await story.put(WithdrawActivation(activation_id=job.activation_id))

    async def failed() -> bool:
        return await real.deliveries(job, "OFF") == ["FAILED"]

    await eventually(failed, "the switch-off failed")
    assert vehicle.unit.state.values[POWER] == "HIGH"
    vehicle.go_offline(0.01)  # back on the network
    drift = await story.drift_is_over(3)
    assert (drift["cause"], drift["ended"]) == ("NOT_FOLLOWED", "CORRECTED")
    assert vehicle.unit.state.values[POWER] == "NORMAL"
