"""Drift on a running platform: found, shown with the difference, corrected; base never touched."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from caas.story.client import wait_for
from caas.story.scene import Scene
from core.clock import rfc3339
from tests.e2e.messages import client, good, send
from tests.e2e.shop import activation, buy, captured, sold
from tests.e2e.stage import Stage, stage
from tests.parts import require

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

POWER = ("ENGINE_CONTROL", "power_mode")
STRANGER = "WAUZZZ8V5KA000055"
FOUND_S = 60.0
# A switch-off is given up after three tries of eight seconds and what is between them.
GIVEN_UP_S = 120.0


@pytest.fixture(scope="module")
def platform() -> Iterator[Stage]:
    require("mosquitto")
    with stage(vehicles=1, prefer="mosquitto") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(platform: Stage) -> AsyncIterator[Scene]:
    async with platform.scene() as made:
        await sold(made)
        yield made


async def ended_drift(scene: Scene, number: int, **wanted: str) -> dict[str, Any]:
    """The car's drift of that number, as support sees it once it shows what is wanted."""

    async def read() -> list[dict[str, Any]]:
        seen = await scene.support.get(f"/api/v1/support/vehicles/{scene.vin}/configuration")
        return seen["drifts"]

    def holds(drifts: list[dict[str, Any]]) -> bool:
        return len(drifts) == number and all(
            drifts[0][name] == value for name, value in wanted.items()
        )

    return (await wait_for(f"drift {number}, {wanted}", read, holds, within_s=FOUND_S))[0]


def counted(platform: Stage, name: str, **labels: str) -> float:
    """A sample of the gateway's metrics; 0 where there is none yet."""
    answer = httpx.get(f"{platform.layout.url('gateway')}/metrics", trust_env=False)
    return sum(
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    )


async def test_each_drift_is_found_shown_and_corrected(platform: Stage, scene: Scene) -> None:
    car = f"/vehicles/{scene.vin}"
    bought = await buy(scene, "PERF_BOOST_50")
    await activation(scene, bought, state="ACTIVE")
    await captured(scene, bought)

    # A technician's tool.
    hand = [{"module": POWER[0], "parameter": POWER[1], "value": "NORMAL"}]
    await scene.sim.put(f"{car}/values", {"values": hand})
    drift = await ended_drift(scene, 1, state="CLOSED")
    assert (drift["cause"], drift["ended"]) == ("CHANGED_IN_VEHICLE", "CORRECTED")
    assert drift["difference"] == [
        {"module": POWER[0], "parameter": POWER[1], "wanted": "HIGH", "before": None,
         "reported": "NORMAL"},
    ]  # fmt: skip
    assert await scene.car_has(*POWER) == "HIGH"
    drifts = "caas_gateway_drifts_total"
    assert counted(platform, drifts, cause="CHANGED_IN_VEHICLE") == 1
    assert counted(platform, "caas_gateway_drifts_ended_total", ended="CORRECTED") == 1

    # Another control unit: factory values, and it has seen no command.
    await scene.sim.post(f"{car}/replace-unit", {})
    drift = await ended_drift(scene, 2, state="CLOSED")
    assert (drift["cause"], drift["ended"]) == ("UNIT_REPLACED", "CORRECTED")
    assert await scene.car_has(*POWER) == "HIGH"

    # A switch-off that never reaches the car.
    await scene.sim.post(f"{car}/offline", {"seconds": 3600})
    await scene.customer.post(f"/api/v1/services/{bought}/cancel", {"reason": "NOT_NEEDED"})
    await wait_for(
        "the switch-off is given up",
        lambda: scene.customer.get(f"/api/v1/activations/{bought}"),
        lambda seen: seen["switchOffState"] == "FAILED",
        within_s=GIVEN_UP_S,
    )
    assert await scene.car_has(*POWER) == "HIGH"
    await scene.sim.post(f"{car}/offline", {"seconds": 0.1})
    drift = await ended_drift(scene, 3, state="CLOSED")
    assert (drift["cause"], drift["ended"]) == ("NOT_FOLLOWED", "CORRECTED")
    assert await scene.car_has(*POWER) == "NORMAL"

    # Nobody paid for any of it, and what is left to see is that all is well.
    assert (await scene.ledger(bought)).count("CAPTURE") == 1
    seen = json.loads(platform.caas("vehicles", "config", scene.vin, "--json"))
    assert seen["difference"] == []
    assert seen["drift"] is None
    assert counted(platform, "caas_gateway_drifting_vehicles", state="ALARM") == 0


async def test_a_base_parameter_is_reported_and_never_corrected(
    platform: Stage, scene: Scene
) -> None:
    """S2, with a vehicle of another maker that tells more of itself than it must."""
    secret = platform.enroll(STRANGER)
    now = datetime.now(UTC)

    def config(seconds: int, on: bool) -> bytes:
        values = [{"module": "BRAKES", "parameter": "abs_enabled", "value": on}]
        body = good("config", now + timedelta(seconds=seconds)) | {"values": values}
        return json.dumps(body).encode()

    with client(platform, STRANGER, secret) as raw:
        presence = good("presence", now) | {"at": rfc3339(now)}
        send(raw, STRANGER, "presence", json.dumps(presence).encode())
        send(raw, STRANGER, "config", config(1, True))
        send(raw, STRANGER, "config", config(2, False))
        path = f"/api/v1/support/vehicles/{STRANGER}/configuration"
        seen = await wait_for(
            "the change", lambda: scene.support.get(path), lambda seen: seen["drifts"]
        )
    [drift] = seen["drifts"]
    assert (drift["cause"], drift["state"], drift["ended"]) == ("NOT_MANAGED", "CLOSED", "NOTED")
    assert drift["difference"] == [
        {"module": "BRAKES", "parameter": "abs_enabled", "wanted": None, "before": True,
         "reported": False},
    ]  # fmt: skip
    assert counted(platform, "caas_gateway_drifts_total", cause="NOT_MANAGED") == 1
    assert platform.rows("SELECT 1 FROM gateway.command_log WHERE vin = %s", STRANGER) == []
    refused = platform.rows(
        "SELECT refused FROM gateway.want_v1(%s, %s, 'test', now())",
        STRANGER,
        '[{"module": "BRAKES", "parameter": "abs_enabled", "value": true}]',
    )
    assert refused == [{"refused": ["BRAKES.abs_enabled"]}]
