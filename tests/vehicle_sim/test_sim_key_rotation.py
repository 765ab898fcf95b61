"""The command keys rotate under a stream of commands to vehicles that verify for real."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from joserfc.jwk import OKPKey

from core.bus import open_bus
from core.clock import SystemClock
from core.contracts import jws
from core.contracts.bus import Answer, CommandKind, Presence, PresenceMessage, Reason, Result
from core.contracts.topics import Topic
from core.keys import KeyFile, load_signing_keys, new_keys_file, retire_key, rotate_keys
from core.ops import HttpServer
from gateway.http import KEYS_PATH, make_app
from tests.broker_fixtures import RunningBroker, free_port
from tests.vehicle_sim.conftest import new_vin
from tests.vehicle_sim.harness import (
    DEADLINE_S,
    PREFIX,
    UPWARD_FILTERS,
    Platform,
    command,
    eventually,
    live,
    platform_on,
    sim_settings,
    vehicle_on,
)
from vehicle_sim.keys import KeyRing, fetch_from
from vehicle_sim.main import vehicle_bus
from vehicle_sim.tally import Tally
from vehicle_sim.vehicle import World

CARS = 3
CALM = {"running_s": 3600.0, "parked_s": 3600.0, "sample_s": 3600.0}
ANNOUNCE_S = 2.0
REFRESH_S = 0.2


@pytest.fixture
async def keys_url(tmp_path: Path) -> AsyncIterator[str]:
    """The gateway's own HTTP application, over the file that is rotated."""
    new_keys_file(tmp_path / "keys.json")
    stop, port = asyncio.Event(), free_port()
    app = make_app(tmp_path / "keys.json", {})
    serving = asyncio.create_task(HttpServer(app, "127.0.0.1", port).run(stop))
    yield f"http://127.0.0.1:{port}{KEYS_PATH}"
    stop.set()
    await serving


class Stream:
    """Commands to one vehicle, one after the other, each signed by whichever key signs."""

    def __init__(self, platform: Platform, keys: Path) -> None:
        self.platform = platform
        self.kids: list[str | None] = []
        self._keys = KeyFile(keys)
        self._seq = itertools.count(1)

    async def send(self, key: OKPKey | None = None) -> Reason | None:
        """The reason of the answer."""
        key = key or self._keys.load().signer(datetime.now(UTC))
        wanted = live(command(next(self._seq), kind=CommandKind.TEST, vin=self.platform.vin))
        await self.platform.say(Topic.CMD, jws.sign(wanted, key))
        await eventually(lambda: bool(self.platform.answers_to(wanted)), "answered")
        self.kids.append(key.kid)
        return self.platform.answers_to(wanted)[0].reason

    async def flow(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            assert await self.send() is None


async def test_no_command_is_refused_while_keys_rotate_and_a_retired_key_is(
    mosquitto_broker: RunningBroker, keys_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    old = load_signing_keys(path).current
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        streams = [await _car(stack, mosquitto_broker, http, keys_url, path) for _ in range(CARS)]
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as flowing:
            for stream in streams:
                flowing.create_task(stream.flow(stop))
            await eventually(lambda: all(stream.kids for stream in streams), "commands flow")
            new = rotate_keys(path, datetime.now(UTC), ANNOUNCE_S)
            await eventually(
                lambda: all(stream.kids.count(new.kid) >= 5 for stream in streams), "the new signs"
            )
            stop.set()
        for stream in streams:
            assert set(stream.kids) == {old.kid, new.kid}
            results = Counter(answer.result for answer in stream.platform.of(Answer))
            assert results == {Result.REPORT: len(stream.kids)}

        retire_key(path, str(old.kid), datetime.now(UTC), force=True)
        for stream in streams:
            async with asyncio.timeout(DEADLINE_S):
                while await stream.send(old) is not Reason.BAD_SIGNATURE:
                    pass  # the vehicle still keeps the set from before
            assert await stream.send(new) is None


async def _car(
    stack: AsyncExitStack, broker: RunningBroker, http: httpx.AsyncClient, url: str, keys: Path
) -> Stream:
    vin = new_vin()
    secret = broker.add_user(vin)
    # Never asks because of an unknown kid: only the announcement can tell it of the new key.
    ring = KeyRing(fetch_from(url, http), ask_again_s=3600, refresh_s=REFRESH_S)
    world = World(
        sim_settings(keys.parent / vin, **CALM),
        PREFIX,
        vehicle_bus(broker.settings(vin)),
        ring,
        SystemClock(),
        Tally(),
    )
    ear = open_bus(
        broker.settings("svc-telemetry"), client_id=f"ear-{vin}", subscriptions=UPWARD_FILTERS
    )
    mouth = open_bus(broker.settings("svc-gateway"), client_id=f"mouth-{vin}")
    platform = await stack.enter_async_context(platform_on(vin, ear, mouth))
    await stack.enter_async_context(vehicle_on(world, vin, secret))
    await platform.expect(PresenceMessage, lambda p: p.state is Presence.ONLINE, "online")
    return Stream(platform, keys)
