"""Telemetry pushed to clients: at least once, bounded, and only to whom it may go."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.contracts.iot_api import TelemetryPush
from gateway.iot_api.metrics import PUSHES_LOST
from tests.broker_fixtures import RunningBroker
from tests.gateway.conftest import PREFIX, eventually
from tests.iot_api.test_iot_callbacks import signed
from tests.iot_api.world import OTHER_VIN, VIN, World, running
from tests.partner_sims.harness import Platform, receiving

SAMPLE = {"t": 1795507200000, "speed_kmh": 87.5, "extra": {"tyre_fl_kpa": 241.0}, "x_unknown": "y"}


async def send(world: World, n: int, payload: bytes | None = None) -> None:
    body = json.dumps({"boot": 17, "n": n, "samples": [SAMPLE]}).encode()
    await world.car.bus.publish(f"{PREFIX}/{VIN}/telemetry", payload or body)


async def flowing(world: World, platform: Platform) -> None:
    """Return once the gateway has heard of the client: what came before is not sent to it."""

    async def begun() -> bool:
        await send(world, 1000)
        return bool(platform.received)

    await eventually(begun, "telemetry flows")


async def queued(world: World) -> list[dict[str, Any]]:
    async with world.room.transaction() as conn:
        return await conn.dicts("SELECT client_id, n FROM gateway.iot_push ORDER BY push_id")


async def got(platform: Platform, ns: set[int]) -> bool:
    return {item.body["n"] for item in platform.received if item.answered == 200} >= ns


async def test_telemetry_reaches_who_may_have_it(world: World) -> None:
    with receiving() as mine, receiving() as others, receiving() as every:
        await world.client(telemetry_url=f"{mine.url}/telemetry")
        await world.client("others", vins=[OTHER_VIN], telemetry_url=others.url)
        await world.client("writer", scopes=["configure"], telemetry_url=others.url)
        await world.client("model", vins=[], models=["AURORA"], telemetry_url=every.url)
        await flowing(world, every)
        await send(world, 0, b"not telemetry")
        await send(world, 1)
        await send(world, 2)
        await eventually(lambda: got(mine, {1, 2}), "both batches came")
        await eventually(lambda: got(every, {1, 2}), "both batches came")
        received = next(item for item in mine.received if item.body["n"] == 1)
        assert received.path == "/telemetry"
        assert signed(world, received)
        assert received.headers["X-Webhook-Id"] == f"{VIN}-17-1"
        push = TelemetryPush.model_validate(received.body)
        assert (push.vin, push.boot, push.n) == (VIN, 17, 1)
        assert push.samples == [SAMPLE]  # as the vehicle wrote it, what we do not know too
        assert others.received == []

        async def nothing_left() -> bool:
            return await queued(world) == []

        await eventually(nothing_left, "what was delivered is forgotten")


async def test_what_the_platform_quarantines_is_not_sent_on(world: World) -> None:
    with receiving() as client:
        await world.client(telemetry_url=client.url)
        await flowing(world, client)
        ahead = {**SAMPLE, "t": int((datetime.now(UTC) + timedelta(hours=25)).timestamp() * 1000)}
        body = json.dumps({"boot": 17, "n": 1, "samples": [SAMPLE, ahead]}).encode()
        await send(world, 1, body)
        await send(world, 2)
        await eventually(lambda: got(client, {2}), "the good one came")
        assert not [item for item in client.received if item.body["n"] == 1]


async def test_a_client_that_was_away_gets_what_it_missed(world: World) -> None:
    with receiving() as client:
        client.status = 503
        await world.client(telemetry_url=client.url)
        await flowing(world, client)
        for n in range(3):
            await send(world, n)

        async def tried_twice() -> bool:
            return sum(item.body["n"] == 2 for item in client.received) >= 2

        await eventually(tried_twice, "it is tried again")
        client.status = 200
        await eventually(lambda: got(client, {0, 1, 2}), "everything came")


async def test_a_full_queue_and_old_telemetry_are_lost_and_counted(
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
        CAAS_IOT_API_TELEMETRY_MOST="2",
    ) as world:
        before = {reason: lost(reason) for reason in ("full", "expired")}

        async def full() -> bool:
            return len(await queued(world)) == 2

        with receiving() as client:
            client.status = 503
            await world.client(telemetry_url=client.url)
            await flowing(world, client)
            await send(world, 1)
            await eventually(full, "two are queued")
            await send(world, 2)

            async def counted() -> bool:
                return lost("full") > before["full"]

            await eventually(counted, "what has no room is counted")
            assert [row["n"] for row in await queued(world)] == [1000, 1]
            async with world.room.transaction() as conn:
                await conn.execute(
                    "UPDATE gateway.iot_push SET created_at = %(at)s WHERE n = 1000",
                    {"at": datetime.now(UTC) - timedelta(hours=2)},
                )

            async def forgotten() -> bool:
                return [row["n"] for row in await queued(world)] == [1]

            await eventually(forgotten, "what is too old is given up")
            assert lost("expired") == before["expired"] + 1


def lost(reason: str) -> float:
    return PUSHES_LOST.labels(reason)._value.get()
