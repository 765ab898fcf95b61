"""A vehicle written from BUS.md alone, in another language with another MQTT library (issue 2)."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from caas.story.scene import Scene
from tests.e2e.node_car import NodeCar, driven, install
from tests.e2e.shop import activation, buy, captured, car_shows, sold
from tests.e2e.stage import Stage, stage
from tests.parts import require

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

VIN = "WAUZZZ8V5KA000042"


@dataclass(frozen=True)
class Stranger:
    """A car of another maker, sold to somebody."""

    stage: Stage
    scene: Scene
    program: Path
    secret: str

    def drives(self, protocol: str = "5") -> AbstractContextManager[NodeCar]:
        return driven(self.stage, self.program, VIN, self.secret, protocol=protocol)


@pytest.fixture(scope="module")
def empty_platform() -> Iterator[Stage]:
    """A platform without a simulated vehicle."""
    require("mosquitto")
    require("node")
    with stage(vehicles=0, prefer="mosquitto") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stranger(
    empty_platform: Stage, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stranger]:
    """The car: enrolled by command, the only one on the factory's lot, sold and linked."""
    program = install(tmp_path_factory.mktemp("stranger") / "example")
    secret = empty_platform.enroll(VIN)
    lot = empty_platform.layout.url("partners") + "/factory/_control/vin-pool"
    httpx.post(lot, json={"platform": "AURORA", "vins": [VIN]}, trust_env=False).raise_for_status()
    async with empty_platform.scene() as scene:
        made = Stranger(empty_platform, scene, program, secret)
        # The driver confirms the app's link on the car's screen, so the car is on.
        with made.drives():
            await sold(scene)
        assert scene.vin == VIN
        yield made


async def test_seen_online_commanded_and_paid_for_once(stranger: Stranger) -> None:
    scene = stranger.scene
    with stranger.drives() as car:
        await car_shows(scene, connectivity="ONLINE")
        bought = await buy(scene, "PERF_BOOST_50")
        seen = await activation(scene, bought, state="ACTIVE")
        assert seen["totalAttempts"] == 1
        moves = await captured(scene, bought)
        assert moves.count("AUTHORISE") == moves.count("CAPTURE") == 1
        assert "APPLIED" in car.results()
        assert "REJECTED" not in car.results()
    await car_shows(scene, connectivity="OFFLINE")
    reported = stranger.stage.rows("SELECT reported FROM telemetry.latest_v1 WHERE vin = %s", VIN)[
        0
    ]["reported"]
    assert {"module": "ENGINE_CONTROL", "parameter": "power_mode", "value": "HIGH"} in reported


async def test_driving_it_waits_until_the_car_is_parked(stranger: Stranger) -> None:
    scene = stranger.scene
    with stranger.drives() as car:
        await car_shows(scene, connectivity="ONLINE")
        car.type("drive")
        await car_shows(scene, operational="RUNNING")
        bought = await buy(scene, "OFF_ROAD")
        waiting = await activation(scene, bought, state="WAITING_SAFE_STATE")
        assert waiting["paymentState"] == "AUTHORIZED"
        assert await scene.ledger(bought) == ["AUTHORISE"]
        car.type("park")
        await activation(scene, bought, state="ACTIVE")
        assert (await captured(scene, bought)).count("CAPTURE") == 1
        assert "DEFERRED" in car.results()
        assert car.results()[-1] == "APPLIED"


async def test_it_speaks_mqtt_3_1_1_as_well(stranger: Stranger) -> None:
    scene = stranger.scene
    with stranger.drives("3.1.1") as car:
        await car_shows(scene, connectivity="ONLINE")
        bought = await buy(scene, "ADVANCED_CLIMATE")
        await activation(scene, bought, state="ACTIVE")
        assert (await captured(scene, bought)).count("CAPTURE") == 1
        assert car.results()[-1] == "APPLIED"


async def test_its_telemetry_is_stored_and_receipted(stranger: Stranger) -> None:
    with stranger.drives() as car:
        car.wait_said("stored")
    stored = stranger.stage.rows("SELECT count(*) FROM telemetry.sample_v1 WHERE vin = %s", VIN)
    assert stored[0]["count"] > 0
    assert stranger.stage.rows("SELECT 1 FROM telemetry.quarantine_v1") == []
