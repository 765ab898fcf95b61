"""The simulator as a process: its fleet file, its control API, and kill -9."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.bus import open_bus
from core.contracts.bus import (
    Presence,
    PresenceMessage,
    Reason,
    ReportedConfig,
    TelemetryBatch,
)
from core.contracts.topics import Topic
from tests.broker_fixtures import RunningBroker, free_port
from tests.vehicle_sim.conftest import new_vin
from tests.vehicle_sim.harness import (
    BOOST,
    BOOST_OFF,
    KEYS,
    UPWARD_FILTERS,
    command,
    eventually,
    live,
    platform_on,
    signed,
)

PROGRAM = """
import asyncio
from core.ops import stop_on_signals
from vehicle_sim.main import run

async def main():
    await run(stop_on_signals())

asyncio.run(main())
"""


class KeyServer:
    """The gateway's one URL that a vehicle reads."""

    def __init__(self) -> None:
        self.port = free_port()
        self.asked = 0
        self.keys = KEYS

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._answer, "127.0.0.1", self.port)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            body = json.dumps(self.keys.as_dict(private=False)).encode()
            head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode())
            writer.write(body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # a simulator that was stopped while it asked
        finally:
            writer.close()


@dataclass
class Sim:
    """A simulator process on a broker."""

    broker: RunningBroker
    folder: Path
    keys: KeyServer
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def fleet_file(self) -> Path:
        return self.folder / "fleet.json"

    def enrol(self, *vins: str) -> None:
        fleet: list[dict[str, str]] = []
        if self.fleet_file.exists():
            fleet = json.loads(self.fleet_file.read_text())
        for vin in vins:
            secret = self.broker.add_user(vin)
            fleet.append({"vin": vin, "secret": secret, "model": "AURORA", "firmware": "2.4.1"})
        fresh = self.fleet_file.with_suffix(".new")
        fresh.write_text(json.dumps(fleet))
        fresh.replace(self.fleet_file)

    def start(self) -> None:
        env = {
            "CAAS_MQTT_HOST": self.broker.host,
            "CAAS_MQTT_PORT": str(self.broker.port),
            "CAAS_OPS_PORT": str(self.port),
            "CAAS_SIM_FLEET_FILE": str(self.fleet_file),
            "CAAS_SIM_DATA_DIR": str(self.folder / "vehicles"),
            "CAAS_SIM_KEYS_URL": f"http://127.0.0.1:{self.keys.port}/keys.json",
            "CAAS_SIM_PARKED_S": "0.1",
            "CAAS_SIM_RUNNING_S": "0.1",
            "CAAS_SIM_DRIVE_SHARE": "0",
            "CAAS_SIM_FLEET_POLL_S": "0.1",
        }
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM], env={**os.environ, **env})

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(20)
        self.process = None
        return code


@pytest.fixture
def sim(mosquitto_broker: RunningBroker, tmp_path: Path) -> Iterator[Sim]:
    running = Sim(mosquitto_broker, tmp_path, KeyServer(), free_port())
    yield running
    if running.process is not None:
        running.end(signal.SIGKILL)


async def get_until(client: httpx.AsyncClient, path: str, what: str, holds: Any) -> Any:
    """The JSON at ``path`` once it holds."""
    seen: list[Any] = []

    async def ask() -> None:
        while True:
            try:
                answer = await client.get(path)
            except httpx.TransportError:
                pass
            else:
                seen.append(answer.json())
                if holds(seen[-1]):
                    return
            await asyncio.sleep(0.05)

    try:
        await asyncio.wait_for(ask(), 20)
    except TimeoutError:
        pytest.fail(f"{what}: {seen[-1:]}")
    return seen[-1]


async def test_kill_9_forgets_nothing_and_doubles_nothing(sim: Sim):
    vin = new_vin()
    sim.enrol(vin)
    ear = open_bus(
        sim.broker.settings("svc-telemetry"), client_id=f"ear-{vin}", subscriptions=UPWARD_FILTERS
    )
    mouth = open_bus(sim.broker.settings("svc-gateway"), client_id=f"mouth-{vin}")
    sim.start()  # before there are keys: it must wait for them
    async with platform_on(vin, ear, mouth) as platform:
        await platform.expect(
            PresenceMessage, lambda p: (p.state, p.boot) == (Presence.ONLINE, 1), "first boot"
        )
        wanted = live(command(7, BOOST, vin=vin))
        await platform.say(Topic.CMD, signed(wanted))
        async with await sim.keys.serve():
            await eventually(lambda: bool(platform.answers_to(wanted)), "applied")
            await platform.expect(TelemetryBatch, lambda b: b.n >= 2, "telemetry")
            sim.end(signal.SIGKILL)
            await platform.expect(
                PresenceMessage, lambda p: p.state is Presence.OFFLINE, "the last will"
            )
            sim.start()
            await platform.expect(
                PresenceMessage, lambda p: (p.state, p.boot) == (Presence.ONLINE, 2), "second boot"
            )
            await eventually(
                lambda: [(b.boot, b.n) for b in platform.of(TelemetryBatch)].count((1, 0)) >= 2,
                "what had no receipt comes again",
            )
            assert platform.of(ReportedConfig)[-1].seq == 7
            await platform.say(Topic.CMD, signed(wanted))
            await eventually(lambda: len(platform.answers_to(wanted)) == 2, "answered again")
            assert len(set(platform.answers_to(wanted))) == 1
            assert (await platform.command(command(7, BOOST_OFF))).reason is Reason.REPLAYED
        assert sim.end(signal.SIGTERM) == 0


async def test_control_api(sim: Sim):
    vin, later = new_vin(), new_vin()
    sim.start()  # before there is a fleet
    base = f"http://127.0.0.1:{sim.port}"
    async with (
        await sim.keys.serve(),
        httpx.AsyncClient(base_url=base, trust_env=False) as client,
    ):
        await get_until(client, "/healthz", "healthy", lambda h: h["healthy"])
        assert (await client.get("/vehicles")).json() == []
        sim.enrol(vin)
        await get_until(client, "/summary", "one online", lambda s: s["connected"] == 1)
        sim.enrol(later)
        await get_until(client, "/summary", "two online", lambda s: s["connected"] == 2)
        assert {v["vin"] for v in (await client.get("/vehicles")).json()} == {vin, later}
        await _drive_and_park(client, vin)
        await _faults(client, vin)
        await _workshop(client, vin)
        await _errors(client, vin)
        metrics = (await client.get("/metrics")).text
        assert 'caas_sim_vehicles{state="total"} 2.0' in metrics
        assert 'caas_sim_messages_sent_total{topic="config"}' in metrics
        boot = (await client.get(f"/vehicles/{vin}")).json()["boot"]
        assert (await client.post(f"/vehicles/{vin}/reboot")).status_code == 202
        await get_until(
            client, f"/vehicles/{vin}", "again", lambda v: v["connected"] and v["boot"] == boot + 1
        )
        assert (await client.post(f"/vehicles/{vin}/offline", json={"seconds": 60})).is_success
        await get_until(client, "/summary", "one is gone", lambda s: s["connected"] == 1)
        sim.fleet_file.write_text("[{")
        health = await get_until(client, "/healthz", "unhealthy", lambda h: not h["healthy"])
        assert "fleet.json" in health["parts"]["fleet"]
        assert (await client.get("/summary")).json()["vehicles"] == 2
    assert sim.end(signal.SIGTERM) == 0


async def _drive_and_park(client: httpx.AsyncClient, vin: str) -> None:
    assert (await client.post(f"/vehicles/{vin}/drive")).json()["operational"] == "RUNNING"
    detail = await get_until(client, f"/vehicles/{vin}", "moving", lambda v: v["speed_kmh"] > 1)
    assert detail["values"][-1]["parameter"]
    assert (await client.get("/summary")).json()["driving"] == 1
    assert (await client.post(f"/vehicles/{vin}/park")).json()["operational"] == "PARKED"


async def _workshop(client: httpx.AsyncClient, vin: str) -> None:
    """Hands on the car, past the platform: values as a tool sets them, then another unit."""
    setting = {"module": "HVAC", "parameter": "climate_zones", "value": 2}
    path = f"/vehicles/{vin}/values"
    changed = (await client.put(path, json={"values": [setting]})).json()
    assert setting in changed["values"]
    refused = await client.put(path, json={"values": [{**setting, "value": 3}]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "INVALID_VALUE")
    assert (await client.put(path, json={"values": []})).status_code == 422
    path = f"/vehicles/{vin}/replace-unit"
    assert (await client.post(path, json={"model": "TRABANT"})).status_code == 404
    new = (await client.post(path, json={"model": "CIERZO", "firmware": "2.2.0"})).json()
    assert (new["model"], new["firmware"], new["seq"]) == ("CIERZO", "2.2.0", 0)
    await get_until(
        client, f"/vehicles/{vin}", "the new unit", lambda v: v["connected"] and v["boot"] == 1
    )
    names = {value["parameter"] for value in new["values"]}
    assert names == {"power_mode", "off_road_mode", "snow_mode_available", "premium_streaming"}


async def _faults(client: httpx.AsyncClient, vin: str) -> None:
    path = f"/vehicles/{vin}/faults"
    listed = {"faults": [{"kind": "REFUSE", "reason": "FIRMWARE_ERROR", "times": 2}]}
    assert (await client.put(path, json=listed)).json()["faults"][0]["times"] == 2
    short = (await client.put(path, json={"refuse": "BUSY"})).json()["faults"]
    assert [(f["kind"], f["reason"], f["times"]) for f in short] == [("REFUSE", "BUSY", None)]
    assert (await client.delete(path)).json()["faults"] == []


async def _errors(client: httpx.AsyncClient, vin: str) -> None:
    missing = await client.get("/vehicles/VF1AURRA000000000")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "UNKNOWN_VIN")
    wrong = await client.put(f"/vehicles/{vin}/faults", json={"refuse": "MOOD"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "INVALID_REQUEST")
    never = await client.post(f"/vehicles/{vin}/offline", json={"seconds": -1})
    assert never.status_code == 422
