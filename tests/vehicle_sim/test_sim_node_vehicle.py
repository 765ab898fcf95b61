"""The vehicle in Node.js, written from BUS.md alone, against the platform's own contracts."""

import asyncio
import json
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from joserfc.jwk import KeySet, OKPKey

from core.bus import open_bus
from core.contracts import jws
from core.contracts.bus import (
    CommandKind,
    EventType,
    Operational,
    Presence,
    PresenceMessage,
    Reason,
    ReportedConfig,
    Result,
    SafeState,
    TelemetryBatch,
    VehicleEvent,
    VehicleStatus,
    digest_of,
)
from core.contracts.topics import Topic
from tests.broker_fixtures import RunningBroker
from tests.parts import require
from tests.vehicle_sim.conftest import new_vin
from tests.vehicle_sim.harness import (
    BOOST,
    BOOST_OFF,
    KEY,
    NOW,
    UPWARD_FILTERS,
    Platform,
    command,
    eventually,
    live,
    platform_on,
    settings_of,
    signed,
)
from tests.vehicle_sim.test_sim_process import KeyServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "vehicle-node"
INSTALL_S = 240


@dataclass
class NodeVehicle:
    """One run of the example."""

    process: asyncio.subprocess.Process
    platform: Platform

    async def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        await self.process.stdin.drain()

    async def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), 20)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its one dependency, as its README says to install it."""
    require("node")
    folder = tmp_path_factory.mktemp("vehicle-node") / "example"
    shutil.copytree(EXAMPLE, folder, symlinks=True)
    if not (folder / "node_modules" / "mqtt").is_dir():
        npm = require("npm")
        subprocess.run(
            [str(npm), "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=INSTALL_S
        )
    return folder / "vehicle.mjs"


@dataclass
class Bench:
    program: Path
    broker: RunningBroker
    keys: KeyServer
    vin: str
    folder: Path

    @asynccontextmanager
    async def vehicle(self, platform: Platform, protocol: str = "5") -> AsyncGenerator[NodeVehicle]:
        process = await asyncio.create_subprocess_exec(
            str(require("node")),
            str(self.program),
            *("--broker", f"mqtt://{self.broker.host}:{self.broker.port}"),
            *("--vin", self.vin, f"--secret={self.broker.secrets[self.vin]}"),
            *("--keys", f"http://127.0.0.1:{self.keys.port}/keys.json"),
            *("--state", str(self.folder / "state.json")),
            *("--every", "0.2", "--protocol", protocol, "--keys-every", "0.1"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            yield NodeVehicle(process, platform)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture(params=["mosquitto_broker"])
async def bench(
    request: pytest.FixtureRequest, program: Path, tmp_path: Path
) -> AsyncGenerator[Bench]:
    broker: RunningBroker = request.getfixturevalue(request.param)
    vin = new_vin()
    broker.add_user(vin)
    keys = KeyServer()
    async with await keys.serve():
        yield Bench(program, broker, keys, vin, tmp_path)


@asynccontextmanager
async def hearing(bench: Bench) -> AsyncGenerator[Platform]:
    ear = open_bus(
        bench.broker.settings("svc-telemetry"),
        client_id=f"ear-{bench.vin}",
        subscriptions=UPWARD_FILTERS,
    )
    mouth = open_bus(bench.broker.settings("svc-gateway"), client_id=f"mouth-{bench.vin}")
    async with platform_on(bench.vin, ear, mouth) as platform:
        yield platform


async def online(platform: Platform, boot: int) -> PresenceMessage:
    return await platform.expect(
        PresenceMessage, lambda p: (p.state, p.boot) == (Presence.ONLINE, boot), "online"
    )


@pytest.mark.parametrize(
    ("bench", "protocol"),
    [("mosquitto_broker", "5"), ("mosquitto_broker", "3.1.1"), ("amqtt_broker", "3.1.1")],
    indirect=["bench"],
)
async def test_its_story(bench: Bench, protocol: str):
    async with hearing(bench) as platform, bench.vehicle(platform, protocol) as car:
        first = await online(platform, boot=1)
        config = await platform.expect(ReportedConfig, lambda c: c.seq == 0, "config")
        assert config.digest == digest_of(config.values)
        await platform.expect(VehicleEvent, lambda e: e.type is EventType.BOOT, "boot")

        await car.type("drive")
        await platform.expect(
            VehicleStatus, lambda s: s.operational is Operational.RUNNING, "driving"
        )
        boost = command(1, BOOST, safe_state=SafeState.PARKED)
        deferred = await platform.command(boost)
        assert (deferred.result, deferred.reason) == (Result.DEFERRED, Reason.UNSAFE_STATE)
        await car.type("park")
        await eventually(
            lambda: platform.of(VehicleStatus)[-1].operational is Operational.PARKED, "parked"
        )
        applied = await platform.command(command(2, BOOST, safe_state=SafeState.PARKED))
        assert applied.result is Result.APPLIED
        proof = await platform.expect(ReportedConfig, lambda c: c.seq == 2, "proof")
        assert settings_of(BOOST)[0] in proof.values
        assert proof.digest == digest_of(proof.values)

        report = await platform.command(command(3, kind=CommandKind.QUERY))
        assert report.result is Result.REPORT
        assert (await platform.command(command(4, kind=CommandKind.TEST))).result is Result.REPORT
        text = "Link this car to the app? Code 482913"
        await platform.command(command(5, kind=CommandKind.DISPLAY, text=text))
        confirmed = await platform.expect(
            VehicleEvent, lambda e: e.type is EventType.LINK_CONFIRMED, "linked"
        )
        assert confirmed.code == "482913"

        assert await car.end(signal.SIGTERM) == 0
        goodbye = await platform.expect(
            PresenceMessage, lambda p: p.state is Presence.OFFLINE, "goodbye"
        )
        assert goodbye.session == first.session


async def test_it_refuses_what_it_must(bench: Bench):
    async with hearing(bench) as platform, bench.vehicle(platform):
        await online(platform, boot=1)
        forged = live(command(1, BOOST, vin=bench.vin))
        await platform.say(Topic.CMD, jws.sign(forged, jws.new_signing_key()))
        await eventually(lambda: bool(platform.answers_to(forged)), "answer to a forgery")
        assert platform.answers_to(forged)[0].reason is Reason.BAD_SIGNATURE
        foreign = live(command(1, BOOST, vin="VF1AUR99999999999"))
        await platform.say(Topic.CMD, signed(foreign))
        await eventually(lambda: bool(platform.answers_to(foreign)), "answer to a foreign one")
        assert platform.answers_to(foreign)[0].reason is Reason.WRONG_VEHICLE
        unknown = await platform.command(command(1, ("BRAKES.abs_enabled", False)))
        assert unknown.reason is Reason.UNKNOWN_PARAMETER
        invalid = await platform.command(command(2, ("HVAC.climate_zones", 99)))
        assert invalid.reason is Reason.INVALID_VALUE
        expired = await platform.command(command(3, BOOST, expires_in_s=-1))
        assert expired.reason is Reason.EXPIRED
        assert (await platform.command(command(3, BOOST))).reason is Reason.REPLAYED
        assert platform.of(ReportedConfig)[-1].seq == 0


async def test_it_follows_the_keys(bench: Bench):
    successor = jws.new_signing_key()

    async def reason(seq: int, key: OKPKey) -> Reason | None:
        wanted = live(command(seq, kind=CommandKind.TEST, vin=bench.vin))
        await platform.say(Topic.CMD, jws.sign(wanted, key))
        await eventually(lambda: bool(platform.answers_to(wanted)), "answered")
        return platform.answers_to(wanted)[0].reason

    async with hearing(bench) as platform, bench.vehicle(platform):
        await online(platform, boot=1)
        assert await reason(1, KEY) is None
        bench.keys.keys = KeySet([successor])
        asked = bench.keys.asked
        # Two more: the first of them may have begun before.
        await eventually(lambda: bench.keys.asked >= asked + 3, "asked regularly")
        assert await reason(2, KEY) is Reason.BAD_SIGNATURE
        assert await reason(2, successor) is None


async def test_it_switches_off_in_time_and_keeps_telemetry(bench: Bench):
    async with hearing(bench) as platform, bench.vehicle(platform) as car:
        await online(platform, boot=1)
        until = NOW + timedelta(seconds=1)
        await platform.command(command(1, BOOST, valid_until=until, revert=[BOOST_OFF]))
        await eventually(
            lambda: (
                [c.values for c in platform.of(ReportedConfig)][-1].count(settings_of(BOOST_OFF)[0])
                == 1
                and platform.of(ReportedConfig)[-1].seq == 1
            ),
            "switched off by itself",
        )
        await platform.expect(TelemetryBatch, lambda b: b.n >= 3, "telemetry")
        await platform.store(1, 3, missing=[1])
        await eventually(
            lambda: [b.n for b in platform.of(TelemetryBatch)].count(1) >= 2, "the missing one"
        )
        wanted = live(command(2, BOOST, vin=bench.vin))
        await platform.say(Topic.CMD, signed(wanted))
        await eventually(lambda: len(platform.answers_to(wanted)) == 1, "answered")
        await car.end(signal.SIGKILL)
        await platform.expect(PresenceMessage, lambda p: p.state is Presence.OFFLINE, "will")
        async with bench.vehicle(platform):
            await online(platform, boot=2)
            await platform.say(Topic.CMD, signed(wanted))
            await eventually(lambda: len(platform.answers_to(wanted)) == 2, "the same answer")
            assert len({a.at for a in platform.answers_to(wanted)}) == 1
            assert json.loads((bench.folder / "state.json").read_text())["boot"] == 2
