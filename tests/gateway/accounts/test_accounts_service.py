"""The whole gateway and the command line: a vehicle that is shut out is nowhere ONLINE any more."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest
from prometheus_client import REGISTRY

from core.bus import Subscription, Will, open_bus
from core.contracts.bus import Presence, PresenceMessage, decode, encode
from gateway.main import run
from tests.broker_fixtures import RunningBroker, free_port
from tests.gateway.accounts.conftest import ends, is_let_in, signed_in
from tests.gateway.conftest import OTHER_VIN, PREFIX, VIN, eventually

ENROLL = ("--model", "AURORA", "--firmware", "2.4.1", "--json")


@pytest.fixture
def environment(seeded: str, broker: RunningBroker, tmp_path: Path) -> dict[str, str]:
    """What the gateway and the command line beside it are started with."""
    return {
        "CAAS_DB_DSN": seeded,
        "CAAS_DB_SET_ROLE": "true",
        "CAAS_MQTT_HOST": broker.host,
        "CAAS_MQTT_PORT": str(broker.port),
        "CAAS_MQTT_USERNAME": "svc-gateway",
        "CAAS_MQTT_PASSWORD": broker.secrets["svc-gateway"],
        "CAAS_OPS_PORT": str(free_port()),
        "CAAS_SIGNING_KEYS_FILE": str(tmp_path / "keys.json"),
        "CAAS_ACCOUNTS_RECHECK_S": "1",
        "CAAS_ACCOUNTS_WILL_WAIT_S": "0.5",
    }


@asynccontextmanager
async def serving() -> AsyncGenerator[None]:
    stop = asyncio.Event()
    service = asyncio.create_task(run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(service, 20)


async def caas(environment: dict[str, str], *arguments: str) -> tuple[str, str]:
    """The command's output and what it says on standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "caas", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    shown, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    return shown.decode(), said.decode()


async def secret_of(environment: dict[str, str], *arguments: str) -> str:
    shown, said = await caas(environment, "vehicles", *arguments, "--json")
    assert said == ""
    return str(json.loads(shown)["secret"])


async def presence_is(seeded: str, wanted: str) -> None:
    async def holds() -> bool:
        with psycopg.connect(seeded) as conn:
            row = conn.execute(
                "SELECT presence FROM gateway.vehicle_v1 WHERE vin = %s", [VIN]
            ).fetchone()
        return row == (wanted,)

    await eventually(holds, f"the vehicle is {wanted}")


def presence(state: Presence, session: str) -> bytes:
    return encode(PresenceMessage(state, datetime.now(UTC), session, 1))


async def test_a_vehicle_that_is_shut_out_is_offline(
    environment: dict[str, str],
    seeded: str,
    broker: RunningBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    topic = f"{PREFIX}/{VIN}/presence"
    # The tests of one process share its counters.
    before = REGISTRY.get_sample_value("caas_gateway_farewells_total") or 0.0
    async with serving():
        first = await secret_of(environment, "enroll", VIN, *ENROLL[:-1])
        will = Will(topic, presence(Presence.OFFLINE, "one"))
        async with signed_in(broker, first, will=will) as vehicle:
            await vehicle.publish(topic, presence(Presence.ONLINE, "one"), retain=True)
            await presence_is(seeded, "ONLINE")
            second = await secret_of(environment, "rotate", VIN)
            await ends(vehicle)
            # The broker sends no will for it.
            await presence_is(seeded, "OFFLINE")
        async with signed_in(broker, second) as vehicle:
            await vehicle.publish(topic, presence(Presence.ONLINE, "two"), retain=True)
            await presence_is(seeded, "ONLINE")
            assert (await caas(environment, "vehicles", "revoke", VIN))[1] == ""
            await ends(vehicle)
            await presence_is(seeded, "OFFLINE")
        assert not await is_let_in(broker, second)
        watcher = open_bus(
            broker.settings("svc-telemetry"),
            client_id="watcher",
            subscriptions=[Subscription(topic)],
        )
        await watcher.start()
        async with asyncio.timeout(20):
            message = await anext(aiter(watcher.messages()))
        # Whoever asks later hears the same.
        kept = decode(PresenceMessage, message.payload)
        assert (message.retain, kept.state, kept.session) == (True, Presence.OFFLINE, "two")
        await watcher.close()
        async with httpx.AsyncClient() as http:
            url = f"http://127.0.0.1:{environment['CAAS_OPS_PORT']}/metrics"
            metrics = (await http.get(url)).text
        assert f"caas_gateway_farewells_total {before + 2}" in metrics
        assert "caas_gateway_broker_accounts_behind 0.0" in metrics


async def test_a_vehicle_that_comes_back_at_once_stays_online(
    environment: dict[str, str],
    seeded: str,
    broker: RunningBroker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    topic = f"{PREFIX}/{VIN}/presence"
    async with serving():
        first = await secret_of(environment, "enroll", VIN, *ENROLL[:-1])
        async with contextlib.AsyncExitStack() as exits:
            old = await exits.enter_async_context(signed_in(broker, first))
            await old.publish(topic, presence(Presence.ONLINE, "one"), retain=True)
            await presence_is(seeded, "ONLINE")
            second = await secret_of(environment, "rotate", VIN)
            await ends(old)
            new = await exits.enter_async_context(signed_in(broker, second))
            await new.publish(topic, presence(Presence.ONLINE, "two"), retain=True)
            # Longer than a farewell takes.
            await asyncio.sleep(3)
            assert new.connected
            await presence_is(seeded, "ONLINE")


async def test_an_import_brings_its_secrets_to_the_broker(
    environment: dict[str, str], broker: RunningBroker, tmp_path: Path
) -> None:
    fleet, handed_out = tmp_path / "fleet.csv", tmp_path / "secrets.csv"
    fleet.write_text(
        f"vin,model,firmware,secret\n{VIN},AURORA,2.4.1,\n{OTHER_VIN},AURORA,2.4.1,{'x' * 20}\n"
    )
    arguments = ("vehicles", "import", str(fleet), "--secrets", str(handed_out))
    assert (await caas(environment, *arguments))[1] == ""
    made = dict(line.split(",") for line in handed_out.read_text().splitlines()[1:])
    assert await is_let_in(broker, made[VIN])
    assert await is_let_in(broker, "x" * 20, OTHER_VIN)


async def test_a_large_import_is_left_to_the_password_file(
    environment: dict[str, str], broker: RunningBroker, tmp_path: Path
) -> None:
    fleet = tmp_path / "fleet.csv"
    fleet.write_text(f"vin,model,firmware\n{VIN},AURORA,2.4.1\n{OTHER_VIN},AURORA,2.4.1\n")
    few = {**environment, "CAAS_ACCOUNTS_BULK_MAX": "1"}
    out = tmp_path / "secrets.csv"
    shown, said = await caas(few, "vehicles", "import", str(fleet), "--secrets", str(out))
    assert "2 imported" in shown
    assert said.startswith("note: 2 secrets work once the broker reads its password file")
    assert said.count("\n") == 1
    made = dict(line.split(",") for line in out.read_text().splitlines()[1:])
    assert not await is_let_in(broker, made[VIN])


async def test_without_a_broker_the_command_line_says_what_is_yet_to_come(
    environment: dict[str, str],
) -> None:
    away = {**environment, "CAAS_MQTT_PORT": str(free_port()), "CAAS_ACCOUNTS_DEADLINE_S": "0.3"}
    shown, said = await caas(away, "vehicles", "enroll", VIN, *ENROLL)
    assert len(json.loads(shown)["secret"]) == 48
    assert said.startswith("note: the broker could not be told (no broker at 127.0.0.1:")
    assert said.count("\n") == 1
    assert "the gateway does it" in (await caas(away, "vehicles", "revoke", VIN))[1]
