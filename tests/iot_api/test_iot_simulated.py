"""The IoT API with the simulator's vehicle: switched on, proved, and off again by itself."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from joserfc.jwk import KeySet

from core.clock import rfc3339
from core.keys import load_signing_keys
from tests.broker_fixtures import RunningBroker
from tests.gateway.conftest import eventually
from tests.iot_api.world import OTHER_VIN, World
from tests.vehicle_sim.harness import sim_settings, vehicle_on, world_of
from vehicle_sim.keys import KeyRing
from vehicle_sim.main import vehicle_bus


async def test_a_vehicle_does_what_it_is_told_and_says_how_it_is(
    world: World, mosquitto_broker: RunningBroker, tmp_path: Path
) -> None:
    async def fetch() -> KeySet:
        return load_signing_keys(tmp_path / "keys.json").verifier()

    secret = mosquitto_broker.secrets.get(OTHER_VIN) or mosquitto_broker.add_user(OTHER_VIN)
    settings = mosquitto_broker.settings(OTHER_VIN)
    cars = replace(world_of(sim_settings(tmp_path), vehicle_bus(settings)), keys=KeyRing(fetch))
    headers = await world.client(vins=[OTHER_VIN])

    async def get(call: str) -> dict[str, Any]:
        answer = await world.http.get(f"/vehicle/{OTHER_VIN}/{call}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def order(request_id: str, **more: Any) -> str:
        answer = await world.configure(headers, request_id, vin=OTHER_VIN, **more)
        assert answer.status_code == 202, answer.text
        return answer.json()["commandId"]

    async def is_over(command_id: str) -> bool:
        return (await get(f"commands/{command_id}"))["status"] in ("COMPLETED", "FAILED")

    async def shows(value: str) -> bool:
        reported = (await get("status"))["reportedConfiguration"] or {}
        return reported.get("ENGINE_CONTROL.power_mode") == value

    async def active(services: list[str]) -> bool:
        return [item["serviceId"] for item in (await get("status"))["activeServices"]] == services

    async with vehicle_on(cars, OTHER_VIN, secret) as car:
        await eventually(lambda: shows("NORMAL"), "the vehicle is there")
        car.park()
        until = rfc3339(datetime.now(UTC) + timedelta(seconds=12))
        command_id = await order("r1", duration={"type": "TEMPORARY", "expiryDate": until})
        await eventually(lambda: is_over(command_id), "the command is over")
        assert (await get(f"commands/{command_id}"))["status"] == "COMPLETED"
        assert await shows("HIGH")
        await eventually(lambda: active(["PERF_BOOST_50"]), "its status says so")
        assert (await get("status"))["connectivity"] == "ONLINE"
        assert (await get("health"))["reachable"] is True
        # Nobody tells it to switch off.
        await eventually(lambda: shows("NORMAL"), "it switched off by itself")
        assert len((await get("history"))["commands"]) == 1
