"""Two gateways, one killed under load: no command lost, none executed twice, the quota right."""

import asyncio
import os
import signal
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from caas.bench.door import Door, Sent
from caas.bench.stage import Stage, stage
from caas.demo.layout import HOST
from caas.demo.platform import PREFIX, service_child
from caas.supervisor.child import Child
from caas.supervisor.ports import free_port
from core.bus.mqtt5 import Mqtt5Bus
from core.bus.reconnect import BusOptions
from core.db import Connection, Database
from core.keys import load_signing_keys
from core.settings import DatabaseSettings, load
from gateway.commands import audit
from tests.parts import require

pytestmark = pytest.mark.e2e

VEHICLES = 20
QUOTA = 10
TRIES = 8  # of each door at each vehicle: together more than the quota
DEADLINE_S = 60.0
SETTINGS = {"CAAS_SIM_STAGGER_S": "0", "CAAS_SIM_DRIVE_SHARE": "0", "CAAS_SIM_PARKED_S": "3600"}


@dataclass(frozen=True)
class Pair:
    """Two gateways of one platform; ``urls`` where each answers."""

    on: Stage
    database: Database
    urls: tuple[str, str]
    turns: Mapping[str, asyncio.Lock]

    async def count(self, sql: str) -> int:
        async with self.database.transaction() as conn:
            return int(await conn.value(sql))  # pyright: ignore[reportArgumentType]

    async def metric(self, url: str, name: str) -> float:
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
            text = (await client.get(f"{url}/metrics")).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if "/".join([sample.name, *sample.labels.values()]).startswith(name)
        )


@asynccontextmanager
async def two_gateways(base: Path) -> AsyncGenerator[Pair]:
    async with stage(base, vehicles=VEHICLES, settings=SETTINGS) as on:
        first = service_child(on.layout, "gateway")
        port = free_port()
        second = replace(
            first,
            name="gateway-1",
            env={**(first.env or {}), "CAAS_MQTT_SLOT": "1", "CAAS_OPS_PORT": str(port)},
            ready=None,
        )
        children: list[Child] = [first, second, service_child(on.layout, "sim")]
        await on.supervisor.start_all(children)
        database = Database(load(DatabaseSettings, dsn=on.layout.dsn), role="caas")
        await database.open()
        try:
            urls = (on.layout.url("gateway"), f"http://{HOST}:{port}")
            yield Pair(on, database, urls, defaultdict(asyncio.Lock))
        finally:
            await database.close()


async def test_one_of_two_gateways_killed_under_load(base: Path) -> None:
    require("mosquitto")
    async with two_gateways(base / "two") as pair:
        url_of_sim = pair.on.layout.url("sim")
        await eventually(
            lambda: at_least(pair.metric(url_of_sim, "caas_sim_vehicles/connected"), VEHICLES),
            "the fleet is connected",
        )
        for url in pair.urls:
            await eventually(lambda url=url: healthy(url), f"{url} is healthy")
        before = [await pair.metric(url, "caas_gateway_messages_total") for url in pair.urls]
        load_of_both = asyncio.gather(*(put_load_on(pair, door) for door in ("ota", "iot_api")))
        answered = "SELECT count(*) FROM gateway.command_answer"
        await eventually(lambda: at_least(pair.count(answered), 40), "some are answered")
        for url, count in zip(pair.urls, before, strict=True):
            assert await pair.metric(url, "caas_gateway_messages_total") > count, "has no share"
        killed = pair.on.supervisor.pid("gateway-1")
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        assert await pair.count(answered) < VEHICLES * QUOTA, "killed after the work was done"
        sent = [command_id for each in await load_of_both for command_id in each.at]
        # The supervisor starts it again in its slot, where its share of the messages waits.
        await eventually(
            lambda: at_least(pair.count(answered), VEHICLES * QUOTA), "every answer is stored"
        )
        await eventually(
            lambda: nothing(
                pair.count(
                    "SELECT count(*) FROM gateway.vehicle v"
                    " JOIN gateway.vehicle_state s USING (vin)"
                    " WHERE s.reported_seq IS DISTINCT FROM v.last_seq"
                )
            ),
            "every configuration is stored",
        )
        assert pair.on.supervisor.pid("gateway-1") != killed
        assert len(sent) == len(set(sent)) == VEHICLES * QUOTA
        async with pair.database.transaction() as conn:
            await check_quota(conn)
        async with pair.database.transaction() as conn:
            proved = await audit.verify(conn)
        assert (proved.commands, proved.vehicles) == (len(sent), VEHICLES)
        # One answer to each: nothing came to a car twice.
        assert await pair.metric(url_of_sim, "caas_sim_answers_total") == len(sent)


async def check_quota(conn: Connection) -> None:
    """The quota was kept, and everything was applied."""
    rows = await conn.dicts(
        "SELECT vin, count(*) AS commands, count(DISTINCT source) AS doors,"
        " count(*) FILTER (WHERE last_result = 'APPLIED') AS applied"
        " FROM gateway.command_log_v1 GROUP BY vin"
    )
    assert len(rows) == VEHICLES
    assert {(row["commands"], row["applied"]) for row in rows} == {(QUOTA, QUOTA)}
    assert any(row["doors"] == 2 for row in rows)


async def put_load_on(pair: Pair, source: str) -> Sent:
    """One door's commands to every vehicle, until the quota is used up."""
    layout = pair.on.layout
    sent = Sent()
    account = {"ota": "svc-ota", "iot_api": "svc-gateway"}[source]
    role = {"ota": "caas_ota", "iot_api": "caas_gateway"}[source]
    database = Database(load(DatabaseSettings, dsn=layout.dsn, set_role=True), role=role)
    bus = Mqtt5Bus(
        BusOptions(
            f"test-{source}", HOST, layout.ports["mqtt"], account,
            layout.secrets.accounts()[account], session_expiry_s=0,
        )
    )  # fmt: skip
    await database.open()
    await bus.start()
    try:
        key = load_signing_keys(layout.keys_file).current
        door = Door(database, bus, key, PREFIX, quota=QUOTA, source=source)
        for _ in range(TRIES):
            for vehicle in pair.on.fleet:
                # A car takes no number below one it has seen, so its commands go out in order.
                async with pair.turns[vehicle.vin]:
                    for command in await door.admit([vehicle.vin]):
                        await door.publish(command, sent)
    finally:
        await bus.close()
        await database.close()
    return sent


async def at_least(found: Awaitable[float], wanted: float) -> bool:
    return await found >= wanted


async def nothing(found: Awaitable[float]) -> bool:
    return await found == 0


async def healthy(url: str) -> bool:
    async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
        try:
            return (await client.get(f"{url}/healthz")).is_success
        except httpx.HTTPError:
            return False


async def eventually(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        await asyncio.sleep(0.02)
