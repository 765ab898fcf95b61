"""The calls of DOMAIN 9, with a real car at the other end."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from core.clock import rfc3339
from core.contracts.bus import Result
from gateway.iot_api import clients
from tests.broker_fixtures import RunningBroker
from tests.gateway.conftest import eventually
from tests.iot_api.world import OTHER_VIN, VIN, World, running

UNKNOWN = "VF1AURXRA00000033"
ACTIVATION = """
    INSERT INTO ota.activation (activation_id, vin, service_code, origin, state, paid,
        purchased_at)
    VALUES (gen_random_uuid(), %(vin)s, 'PERF_BOOST_50', 'PURCHASE', %(state)s, true,
        now())
"""


async def test_a_configuration_is_proved_by_the_car(world: World) -> None:
    headers = await world.client()
    answer = await world.configure(headers, "order-1")
    assert answer.status_code == 202, answer.text
    accepted = answer.json()
    assert (accepted["requestId"], accepted["status"]) == ("order-1", "QUEUED")
    ended = await world.ended(headers, accepted["commandId"])
    assert (ended["status"], ended["errorCode"]) == ("COMPLETED", None)
    assert ended["completedAt"] is not None
    (command,) = world.car.commands
    assert str(command.command_id) == accepted["commandId"]
    assert (command.service, command.safe_state.value) == ("PERF_BOOST_50", "PARKED")
    assert (command.valid_until, command.revert_values) == (None, [])

    status = (await world.http.get(f"/vehicle/{VIN}/status", headers=headers)).json()
    assert status["reportedConfiguration"]["ENGINE_CONTROL.power_mode"] == "HIGH"
    assert (status["vin"], status["model"]) == (VIN, "AURORA")
    health = (await world.http.get(f"/vehicle/{VIN}/health", headers=headers)).json()
    assert health["reachable"] is False  # it never published its presence
    assert health["lastSeen"] is not None
    report = (await world.http.get(f"/vehicle/{VIN}/diagnostics", headers=headers)).json()
    assert report["firmwareVersion"] == "2.4.1"
    (entry,) = (await world.http.get(f"/vehicle/{VIN}/history", headers=headers)).json()["commands"]
    assert (entry["status"], entry["serviceId"]) == ("COMPLETED", "PERF_BOOST_50")
    assert entry["configuration"]["parameters"] == {"ENGINE_CONTROL.power_mode": "HIGH"}


async def test_applied_alone_proves_nothing(world: World) -> None:
    headers = await world.client()
    world.car.mood = "silent"
    accepted = (await world.configure(headers, "r")).json()
    await eventually(lambda: _has(world, 1), "the car has the command")
    (command,) = world.car.commands
    await world.car.answer(command, Result.APPLIED)
    await world.car.report(command.seq)  # but nothing has changed
    await world.car.report(command.seq)
    assert (await world.command(headers, accepted["commandId"]))["status"] == "IN_PROGRESS"
    world.car.values["ENGINE_CONTROL.power_mode"] = "HIGH"
    await world.car.report(command.seq)
    assert (await world.ended(headers, accepted["commandId"]))["status"] == "COMPLETED"


async def test_a_refusal_says_why(world: World) -> None:
    headers = await world.client()
    world.car.mood = "refuse"
    accepted = (await world.configure(headers, "r")).json()
    ended = await world.ended(headers, accepted["commandId"])
    assert (ended["status"], ended["errorCode"]) == ("FAILED", "INCOMPATIBLE")


async def test_a_limited_time_ends_by_itself(world: World) -> None:
    headers = await world.client()
    until = datetime.now(UTC) + timedelta(days=1)
    duration = {"type": "TEMPORARY", "expiryDate": rfc3339(until)}
    assert (await world.configure(headers, "r", duration=duration)).status_code == 202
    await eventually(lambda: _has(world, 1), "the car has the command")
    (command,) = world.car.commands
    assert command.valid_until is not None
    assert abs(command.valid_until - until) < timedelta(milliseconds=1)
    assert [item.value for item in command.revert_values] == ["NORMAL"]


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"service": "OFF_ROADX"}, 422, "INCOMPATIBLE"),
        (
            {"configuration": {"parameters": {"BRAKES.abs_enabled": False}}},
            422,
            "UNKNOWN_PARAMETER",
        ),
        (
            {"configuration": {"parameters": {"ENGINE_CONTROL.power_mode": "MAX"}}},
            422,
            "INVALID_VALUE",
        ),
        ({"configuration": {"featureFlags": ["HVAC.climate_zones"]}}, 422, "UNKNOWN_PARAMETER"),
        ({"configuration": {"parameters": {"nonsense": 1}}}, 400, "MALFORMED"),
        ({"duration": {"type": "TEMPORARY"}}, 422, "INVALID_DURATION"),
        ({"duration": {"type": "PERMANENT", "expiryDate": "2039-01-01T00:00:00Z"}}, 422, None),
        ({"duration": {"type": "FOREVER"}}, 400, "MALFORMED"),
        ({"extra": 1}, 400, "MALFORMED"),
    ],
)
async def test_what_cannot_be_is_refused(
    world: World, more: dict[str, Any], status: int, code: str | None
) -> None:
    headers = await world.client()
    answer = await world.configure(headers, "r", **more)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == (code or "INVALID_DURATION")
    assert answer.json()["error"]["requestId"]
    # Nothing is left behind: the same id may be used for a sound request.
    assert (await world.configure(headers, "r")).status_code == 202


async def test_credentials_scopes_and_vehicles(world: World) -> None:
    headers = await world.client()
    other = {"Authorization": "Bearer nonsense"}
    assert (await world.configure(other, "r")).status_code == 401
    assert (await world.http.get(f"/vehicle/{VIN}/status")).status_code == 401
    for vin in (OTHER_VIN, UNKNOWN):
        answer = await world.configure(headers, "r", vin=vin)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "VEHICLE_FORBIDDEN")
    reader = await world.client("reader", scopes=["read"], every_vehicle=True)
    answer = await world.configure(reader, "r")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "INSUFFICIENT_SCOPE")
    assert (await world.http.get(f"/vehicle/{OTHER_VIN}/status", headers=reader)).status_code == 200
    answer = await world.http.get(f"/vehicle/{UNKNOWN}/status", headers=reader)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "UNKNOWN_VIN")
    answer = await world.http.get(f"/vehicle/{VIN}/commands/{'0' * 8}", headers=reader)
    assert answer.status_code == 400
    async with world.room.transaction() as conn:
        await clients.revoke(conn, "reader")
    assert (await world.http.get(f"/vehicle/{VIN}/status", headers=reader)).status_code == 401


async def test_secrets_rotate_without_a_gap(world: World) -> None:
    await world.client()
    old = world.secrets["fleet-app"].secret
    async with world.room.transaction() as conn:
        new = await clients.rotate(conn, "fleet-app", now=datetime.now(UTC), overlap_s=600)
    await world.token("fleet-app", old)
    await world.token("fleet-app", new)
    async with world.room.transaction() as conn:
        last = await clients.rotate(conn, "fleet-app", now=datetime.now(UTC), overlap_s=0)
    await world.token("fleet-app", last)
    for secret in (old, new, "", "x"):
        answer = await world.http.post(
            "/oauth/token",
            data={
                "grant_type": "client_credentials",
                "client_id": "fleet-app",
                "client_secret": secret,
            },
        )
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "scope": "admin"}, "invalid_scope"),
        ({}, "unsupported_grant_type"),
    ],
)
async def test_a_token_is_refused_in_the_words_of_oauth(
    world: World, form: dict[str, str], error: str
) -> None:
    await world.client()
    auth = ("fleet-app", world.secrets["fleet-app"].secret)
    answer = await world.http.post("/oauth/token", data=form, auth=auth)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_the_same_request_is_one_command(world: World) -> None:
    headers = await world.client()
    answers = await asyncio.gather(*(world.configure(headers, "twice") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    await world.ended(headers, answers[0].json()["commandId"])
    assert len(world.car.commands) == 1
    other = await world.configure(headers, "twice", service="ADVANCED_CLIMATE")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "REQUEST_ID_REUSED")
    # Another client's ids are its own.
    second = await world.client("second-app")
    assert (await world.configure(second, "twice")).status_code == 202


async def test_one_configuration_at_a_time(world: World) -> None:
    headers = await world.client()
    world.car.mood = "silent"
    assert (await world.configure(headers, "first")).status_code == 202
    answer = await world.configure(headers, "second")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "COMMAND_IN_PROGRESS")


async def test_ten_an_hour_and_when_again(world: World) -> None:
    headers = await world.client()
    for turn in range(10):
        answer = await world.configure(headers, f"r{turn}")
        assert answer.status_code == 202, answer.text
        await world.ended(headers, answer.json()["commandId"])
    answer = await world.configure(headers, "one-too-many")
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert error["code"] == "RATE_LIMITED"
    assert 3500 < error["retryAfterSeconds"] <= 3600
    assert answer.headers["Retry-After"] == str(error["retryAfterSeconds"])
    # A repetition costs nothing.
    assert (await world.configure(headers, "r3")).status_code == 202


async def test_two_gateways_are_one(
    database: str,
    own_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(database, own_broker, tmp_path, monkeypatch, replicas=2) as world:
        headers = await world.client()
        answers = await asyncio.gather(
            *(world.configure(headers, "same", http=http) for http in [*world.replicas] * 3)
        )
        assert len({answer.text for answer in answers}) == 1, [a.text for a in answers]
        await world.ended(headers, answers[0].json()["commandId"])
        assert len(world.car.commands) == 1


async def test_what_is_not_completed_in_time_has_failed(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(
        database,
        mosquitto_broker,
        tmp_path,
        monkeypatch,
        CAAS_IOT_API_COMPLETE_S="2",
    ) as world:
        headers = await world.client()
        world.car.mood = "silent"
        accepted = (await world.configure(headers, "r")).json()
        ended = await world.ended(headers, accepted["commandId"])
        assert (ended["status"], ended["errorCode"]) == ("FAILED", "TIMEOUT")


async def test_a_lost_report_is_asked_for_before_a_command_has_failed(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Asked at half of the time: ten seconds left for the answer.
    async with running(
        database, mosquitto_broker, tmp_path, monkeypatch, CAAS_IOT_API_COMPLETE_S="20"
    ) as world:
        headers = await world.client()
        world.car.mood = "mute"
        accepted = (await world.configure(headers, "r")).json()
        ended = await world.ended(headers, accepted["commandId"])
        assert (ended["status"], ended["errorCode"]) == ("COMPLETED", None)
        assert [command.kind.value for command in world.car.commands] == ["CONFIGURE", "QUERY"]


@pytest.mark.parametrize(
    ("state", "more"),
    [
        ("ACTIVE", {"configuration": {"parameters": {"ENGINE_CONTROL.power_mode": "NORMAL"}}}),
        ("ACTIVE", {}),
        ("CANCELLED_NO_REFUND", {}),
        ("WAITING_SAFE_STATE", {}),
    ],
)
async def test_what_a_customer_uses_is_not_touched(
    world: World, database: str, state: str, more: dict[str, Any]
) -> None:
    headers = await world.client()
    with psycopg.connect(database) as conn:
        conn.execute(ACTIVATION, {"vin": VIN, "state": state})
    answer = await world.configure(headers, "r", **more)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "SERVICE_IN_USE")
    assert (await world.configure(headers, "r", service="ADVANCED_CLIMATE")).status_code == 202
    with psycopg.connect(database) as conn:
        conn.execute("UPDATE ota.activation SET state = 'EXPIRED'")
    await eventually(lambda: _taken(world, headers, **more), "the service is free again")


async def _taken(world: World, headers: dict[str, str], **more: Any) -> bool:
    # 409 as long as the other configuration is under way.
    return (await world.configure(headers, "again", **more)).status_code == 202


async def test_without_the_broker_it_says_so(world: World, mosquitto_broker: RunningBroker) -> None:
    headers = await world.client()
    mosquitto_broker.stop()
    try:

        async def refused() -> bool:
            answer = await world.configure(headers, "r")
            return answer.status_code == 503

        await eventually(refused, "503 without the broker")
    finally:
        mosquitto_broker.start()


async def _has(world: World, commands: int) -> bool:
    return len(world.car.commands) >= commands


async def test_the_document_is_the_one_that_is_published(world: World) -> None:
    served = (await world.http.get("/openapi.json")).json()
    published = json.loads(Path("docs/iot-api.json").read_text(encoding="utf-8"))
    assert served == published, "run `caas iot openapi > docs/iot-api.json`"


async def test_a_text_is_shown_once_and_ends_with_the_cars_answer(world: World) -> None:
    headers = await world.client() | {"X-Request-ID": "text-1"}
    body = {"vin": VIN, "text": "code 4711", "level": "WARNING"}
    path = f"/vehicle/{VIN}/display"
    answers = [await world.http.post(path, json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["commandId"] == answers[1].json()["commandId"]
    ended = await world.ended(headers, answers[0].json()["commandId"])
    assert ended["status"] == "COMPLETED"
    (command,) = world.car.commands
    assert (command.kind.value, command.text, command.values) == ("DISPLAY", "code 4711", [])
    other = await world.http.post(path, json={**body, "text": "other"}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "REQUEST_ID_REUSED")
    astray = await world.http.post(path, json={**body, "vin": OTHER_VIN}, headers=headers)
    assert astray.status_code == 422
    history = (await world.http.get(f"/vehicle/{VIN}/history", headers=headers)).json()
    assert history["commands"] == []  # of configurations


async def test_a_vehicle_gets_a_few_texts_an_hour(world: World) -> None:
    headers = await world.client()
    path, body = f"/vehicle/{VIN}/display", {"vin": VIN, "text": "Hello"}

    async def show(number: int) -> httpx.Response:
        ids = {"X-Request-ID": f"text-{number}"}
        return await world.http.post(path, json=body, headers={**headers, **ids})

    answers = [await show(number) for number in range(11)]
    assert [answer.status_code for answer in answers] == [202] * 10 + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 3600
    assert (await show(0)).json() == answers[0].json()


async def test_of_orders_at_once_one_is_taken_and_the_others_hear_why(world: World) -> None:
    headers = await world.client()
    world.car.mood = "nothing"
    answers = await asyncio.gather(*(world.configure(headers, f"c{n}") for n in range(6)))
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(refused) == 5
    assert {answer.json()["error"]["code"] for answer in refused} == {"COMMAND_IN_PROGRESS"}
