"""What is JSON and still cannot be used is the caller's mistake, never ours."""

import json
from typing import Any

import pytest

from tests.iot_api.world import VIN, World

FOREVER: dict[str, Any] = {"duration": {"type": "PERMANENT"}}
NAMES: list[dict[str, Any]] = [
    {"serviceId": name, **FOREVER} for name in ("\ud800", "\0", "", "x" * 101, "A B")
]
MOMENTS: list[dict[str, Any]] = [
    {"serviceId": "PERF_BOOST_50", "duration": {"type": "TEMPORARY", "expiryDate": moment}}
    for moment in ("9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+23:00", 1e18, "soon")
]
ODD_VALUES: list[Any] = ["\ud800", "\0", "x" * 60_000, 1e308, 10**400, float("nan")]
VALUES: list[dict[str, Any]] = [
    {
        "serviceId": "PERF_BOOST_50",
        "configuration": {"parameters": {"ENGINE_CONTROL.power_mode": value}},
        **FOREVER,
    }
    for value in ODD_VALUES
]
FLAGS = {"serviceId": "PERF_BOOST_50", "configuration": {"featureFlags": ["\ud800"]}, **FOREVER}
ORDERS = [*NAMES, *MOMENTS, *VALUES, FLAGS]


async def test_odd_json_is_refused(world: World) -> None:
    headers = await world.client() | {"Content-Type": "application/json"}

    async def refusal(call: str, body: dict[str, Any], number: int) -> tuple[int, str]:
        answer = await world.http.post(
            f"/vehicle/{VIN}/{call}",
            content=json.dumps({"vin": VIN, **body}),
            headers={**headers, "X-Request-ID": f"{call}-{number}"},
        )
        return answer.status_code, answer.json()["error"]["code"]

    for number, body in enumerate(ORDERS):
        status, code = await refusal("configure", body, number)
        wanted = 422 if "configuration" in body and status != 400 else 400
        assert (status, code == "MALFORMED") == (wanted, wanted == 400), (body, status, code)
    for number, text in enumerate(["\0", "\ud800", "", "x" * 501]):
        status, code = await refusal("display", {"text": text}, number)
        assert status in (400, 422), (text, status, code)


@pytest.mark.parametrize("moment", ["2999-01-01T01:00:00+01:00", "2999-01-01T00:00:00.000Z"])
async def test_a_time_of_any_zone_is_understood(world: World, moment: str) -> None:
    headers = await world.client()
    duration = {"type": "TEMPORARY", "expiryDate": moment}
    answer = await world.configure(headers, "r", duration=duration)
    assert answer.status_code == 202, answer.text
    await world.ended(headers, answer.json()["commandId"])
    (command,) = world.car.commands
    assert command.valid_until is not None
    assert command.valid_until.isoformat() == "2999-01-01T00:00:00+00:00"
