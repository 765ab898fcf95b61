"""One platform consumes another: the story told on A, with a car that lives at B (DOMAIN 9).

A has no fleet: its cars have transport ``iot_api``. A command goes from A's engine over A's bus to
A's gateway, over HTTP to B's IoT API, over B's bus to the car, and its report all the way back.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from caas.story.client import wait_for
from caas.story.sale import deliver, manufacture, sell
from caas.story.scene import Scene, kill_9
from caas.story.services import (
    buy_and_prove,
    refuse_and_not_charge,
    telemetry_is_stored,
    withdraw,
)
from caas.supervisor.processes import wait_until
from core.db import Database
from core.settings import DatabaseSettings, load
from gateway import registry
from tests.e2e.stage import Stage, stage
from tests.foreign.standin import send_signed
from tests.parts import require

pytestmark = pytest.mark.proof

CLIENT = "platform-a"
ONLINE_S = 30.0
# B is somebody else's platform: as it comes, but for callbacks over plain HTTP on this machine.
B_SETTINGS = {
    "CAAS_IOT_API_CALLBACK_ALLOW_HTTP": "true",
    "CAAS_IOT_API_CALLBACK_POLL_S": "0.2",
    "CAAS_IOT_API_COMPLETE_S": "10",
}


@dataclass
class Pair:
    """Both platforms, and the secret of B's callbacks."""

    a: Stage
    b: Stage
    vins: list[str]
    callback_secret: str
    strikes: int = 0

    def scene(self, kill: str | None) -> Scene:
        """A sale on A; what happens to the car is done to it where it is, at B.

        ``kill``: a part of A that gets SIGKILL at every turn.
        """
        scene = self.a.scene()
        if kill is not None:
            scene.strike = lambda _turn: self.strike(kill)
        scene.doors = replace(scene.doors, sim=self.b.layout.url("sim"))
        return scene

    def strike(self, part: str) -> None:
        if kill_9(self.a.pids().get(part)):
            self.strikes += 1


class Consumer:
    """Sets A up as an operator would: a client at B, its secrets in files, and the APIs' file."""

    def __init__(self, b: Stage) -> None:
        self.b = b
        self.callback_secret = ""

    def prepare(self, folder: Path, ports: Mapping[str, int]) -> dict[str, str]:
        said = self.b.caas(
            *("iot", "create", CLIENT, "--every-vehicle", "--callback-url"),
            f"http://127.0.0.1:{ports['gateway']}/caas/webhooks/ota-status",
            **B_SETTINGS,
        )
        secrets = dict(line.rsplit(maxsplit=1) for line in said.splitlines())
        self.callback_secret = secrets["callback secret"]
        (folder / "b.secret").write_text(secrets["client secret"])
        (folder / "b.callbacks").write_text(self.callback_secret)
        api: dict[str, Any] = {
            "name": "platform-b",
            "base_url": f"{self.b.layout.url('gateway')}/iot/v1",
            "vins": ["VF1*"],
            "auth": {"kind": "oauth2", "client_id": CLIENT, "secret_file": "b.secret"},
            "paths": {"display": "/vehicle/{vin}/display"},
            "callback_secret_file": "b.callbacks",
            "telemetry": "push",
            "events": True,
            "poll_s": 1.0,
            "waiting_poll_s": 0.5,
            "command_poll_s": 1.0,
        }
        file = folder / "apis.json"
        file.write_text(json.dumps({"apis": [api]}))
        return {
            "CAAS_FOREIGN_APIS_FILE": str(file),
            "CAAS_FOREIGN_ADOPT_EVERY_S": "1",
            "CAAS_FOREIGN_RETRY_S": "0.3",
        }


async def enroll_and_stock(a: Stage, vins: list[str]) -> None:
    """A's registry knows the cars as reached through an API; A's factory has them on its lot."""
    database = Database(load(DatabaseSettings, dsn=a.layout.dsn), role="caas")
    await database.open()
    try:
        async with database.transaction() as conn:
            for vin in vins:
                await registry.enroll(
                    conn, vin=vin, model="AURORA", firmware="2.4.1", transport="iot_api"
                )
    finally:
        await database.close()
    async with httpx.AsyncClient(base_url=a.layout.url("partners"), trust_env=False) as client:
        body = {"platform": "AURORA", "vins": vins}
        (await client.post("/factory/_control/vin-pool", json=body)).raise_for_status()


async def push_telemetry(pair: Pair, vin: str) -> None:
    """What B's integration would do for each batch that comes in: push it, signed."""
    rows = pair.b.rows(
        "SELECT (extract(epoch FROM t) * 1000)::bigint AS t, speed_kmh, soc_pct, odometer_km"
        " FROM telemetry.sample_v1 WHERE vin = %s ORDER BY sample_v1.t LIMIT 50",
        vin,
    )
    assert rows
    samples = [{k: v for k, v in row.items() if v is not None} for row in rows]

    async def send() -> int:
        with contextlib.suppress(httpx.TransportError):
            answer = await send_signed(
                f"{pair.a.layout.url('gateway')}/telemetry",
                {"vin": vin, "boot": 1, "n": 0, "samples": samples},
                secret=pair.callback_secret,
            )
            return answer.status_code
        return 0

    # As a sender does that must not lose it: until it is taken.
    await wait_for("the push is taken", send, lambda status: status == 200)


async def tell(pair: Pair, kill: str | None) -> Scene:
    scene = pair.scene(kill)
    async with scene:
        await sell(scene)
        await manufacture(scene)
        await deliver(scene)
        activation_id = await buy_and_prove(scene)
        await push_telemetry(pair, scene.vin)
        await telemetry_is_stored(scene)
        await refuse_and_not_charge(scene)
        await withdraw(scene, activation_id)
        # Before the platforms go: what came of the story in the books of both.
        await wait_for("nothing is open", lambda: _open(pair, scene.vin), lambda n: n == 0)
        # The next try of one that found nobody in may be 40 s away.
        await wait_for(
            "the callbacks are taken", lambda: _undelivered(pair), lambda n: n == 0, within_s=60
        )
    return scene


async def _undelivered(pair: Pair) -> int:
    rows = pair.b.rows("SELECT count(*) AS n FROM gateway.iot_callback WHERE state <> 'DELIVERED'")
    return int(rows[0]["n"])


async def _open(pair: Pair, vin: str) -> int:
    rows = pair.a.rows("SELECT open_commands FROM gateway.foreign_vehicle_v1 WHERE vin = %s", vin)
    return int(rows[0]["open_commands"])


def check_books(pair: Pair, scene: Scene) -> None:
    """Each platform has numbers, quota and log of its own, and they tell one story."""
    at_b = pair.b.rows(
        "SELECT source, kind, seq FROM gateway.command_log_v1 WHERE vin = %s ORDER BY seq",
        scene.vin,
    )
    assert {row["source"] for row in at_b} == {"iot_api"}  # nobody at B ordered anything
    at_a = pair.a.rows(
        "SELECT kind, seq, last_result, last_reason FROM gateway.command_log_v1"
        " WHERE vin = %s ORDER BY seq",
        scene.vin,
    )
    ordered = [row for row in at_a if row["kind"] == "CONFIGURE"]
    carried = [row for row in at_b if row["kind"] == "CONFIGURE"]
    # What A deferred itself, while the car drove, never went to B.
    deferred = [row for row in ordered if row["last_result"] == "DEFERRED"]
    # What ended while the gateway was down may not have gone there either.
    expired = [
        row for row in ordered if row["last_result"] is None or row["last_reason"] == "EXPIRED"
    ]
    assert len(ordered) - len(deferred) - len(expired) <= len(carried)
    assert len(carried) <= len(ordered) - len(deferred)
    assert [row["seq"] for row in at_b] != [row["seq"] for row in at_a]
    here, there = (
        platform.rows(
            "SELECT presence, reported_digest, firmware FROM gateway.vehicle_v1 WHERE vin = %s",
            scene.vin,
        )
        for platform in (pair.a, pair.b)
    )
    assert here == there
    assert pair.a.rows("SELECT topic, reason FROM telemetry.quarantine_v1") == []
    callbacks = pair.b.rows("SELECT state, count(*) FROM gateway.iot_callback GROUP BY state")
    assert [row["state"] for row in callbacks] == ["DELIVERED"]
    taken = pair.a.rows("SELECT count(*) AS n FROM gateway.foreign_inbox")
    assert taken[0]["n"] == callbacks[0]["count"]


@pytest.mark.parametrize("kill", [None, "gateway"])
def test_the_story_through_two_platforms(kill: str | None) -> None:
    require("mosquitto")
    with stage(vehicles=5, prefer="mosquitto", prepare=lambda _folder, _ports: B_SETTINGS) as b:
        consumer = Consumer(b)
        with stage(vehicles=0, prefer="mosquitto", prepare=consumer.prepare) as a:
            fleet = json.loads(b.layout.fleet_file.read_text())
            vins = [car["vin"] for car in fleet if car["model"] == "AURORA"]
            pair = Pair(a, b, vins, consumer.callback_secret)
            asyncio.run(enroll_and_stock(a, vins))
            present = "SELECT vin FROM gateway.vehicle_v1 WHERE presence = 'ONLINE'"
            assert wait_until(lambda: len(a.rows(present)) == len(vins), ONLINE_S)
            scene = asyncio.run(tell(pair, kill))
            assert scene.timeline.ok
            assert pair.strikes == 0 if kill is None else pair.strikes >= 6
            check_books(pair, scene)
