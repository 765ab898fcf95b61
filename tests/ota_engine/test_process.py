"""The engine as a process of its own, on real Mosquitto and PostgreSQL, killed in the middle."""

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.bus import Bus, Subscription
from core.bus.open import open_bus
from core.clock import SystemClock
from core.contracts import bus as wire
from core.contracts.bus import Answer, Command, ReportedConfig, Result
from core.contracts.jobs import RequestActivation
from core.contracts.jws import verify
from core.contracts.states import Origin
from core.contracts.topics import Topic, topic_of
from core.ids import new_id
from core.jobs import defer
from core.keys import SigningKeys, new_keys_file
from tests.broker_fixtures import RunningBroker
from tests.ota_engine.world import POWER_ON, PREFIX, World, open_world

DEADLINE_S = 30.0
_numbers = itertools.count(100)
MAIN = """
import asyncio
from core.ops import stop_on_signals
from ota_engine.main import run

async def main():
    await run(stop_on_signals())

asyncio.run(main())
"""


class EngineProcess:
    """The engine, started, killed and started again."""

    def __init__(self, world: World, broker: RunningBroker, keys_file: Path) -> None:
        self.environment = {
            **os.environ,
            "CAAS_DB_DSN": world.dsn,
            "CAAS_DB_SET_ROLE": "true",
            "CAAS_MQTT_HOST": broker.host,
            "CAAS_MQTT_PORT": str(broker.port),
            "CAAS_MQTT_USERNAME": "svc-ota",
            "CAAS_MQTT_PASSWORD": broker.secrets["svc-ota"],
            "CAAS_SIGNING_KEYS_FILE": str(keys_file),
            "CAAS_JOBS_HEARTBEAT_S": "0.5",
            "CAAS_JOBS_STALLED_S": "1.5",
            "CAAS_JOBS_POLL_S": "0.2",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", MAIN], env=self.environment)

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(DEADLINE_S)
        self.process = None
        return code


async def eventually(check: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await check():
        assert time.monotonic() < deadline, f"timed out: {what}"
        await asyncio.sleep(0.05)


@pytest.fixture
def vin() -> str:
    """A car of its own: the broker keeps an earlier one's session, and what waits in it."""
    return f"VF1AURRA000000{next(_numbers)}"


@pytest.fixture
async def real(database: str, vin: str) -> AsyncIterator[World]:
    made = await open_world(database, SystemClock())
    await made.vehicle("ONLINE", vin=vin)
    yield made
    await made.database.close()


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    return new_keys_file(tmp_path / "keys.json")


@pytest.fixture
def engine(
    real: World, mosquitto_broker: RunningBroker, keys: SigningKeys, tmp_path: Path
) -> Iterator[EngineProcess]:
    assert keys.keys
    process = EngineProcess(real, mosquitto_broker, tmp_path / "keys.json")
    yield process
    if process.process is not None:
        process.end(signal.SIGKILL)


@pytest.fixture
async def car(mosquitto_broker: RunningBroker, vin: str) -> AsyncIterator[Bus]:
    mosquitto_broker.add_user(vin)
    bus = open_bus(
        mosquitto_broker.settings(vin),
        client_id=vin,
        subscriptions=[Subscription(topic_of(PREFIX, vin, Topic.CMD))],
    )
    await bus.start()
    yield bus
    await bus.close()


async def next_command(car: Bus, keys: SigningKeys) -> Command:
    async with asyncio.timeout(DEADLINE_S):
        message = await anext(car.messages())
    car.ack(message)
    command = verify(message.payload, keys.verifier())
    assert message.properties.correlation == command.command_id.bytes
    assert message.properties.response_topic == topic_of(PREFIX, command.vin, Topic.ANSWER)
    assert message.properties.expiry_s is not None
    return command


async def apply(car: Bus, command: Command) -> None:
    now = datetime.now(UTC)
    answer = Answer(Result.APPLIED, now, command.command_id, command.seq)
    await car.publish(topic_of(PREFIX, command.vin, Topic.ANSWER), wire.encode(answer))
    report = ReportedConfig(
        now, command.seq, "2.4.1", "AURORA", command.values, wire.digest_of(command.values)
    )
    await car.publish(topic_of(PREFIX, command.vin, Topic.CONFIG), wire.encode(report), retain=True)


async def buy(world: World, vin: str) -> RequestActivation:
    job = RequestActivation(
        activation_id=new_id(),
        vin=vin,
        service_code="PERF_BOOST_50",
        origin=Origin.PURCHASE,
        purchased_at=datetime.now(UTC),
        customer_id=new_id(),
        payment_id=new_id(),
        duration_days=7,
    )
    async with world.database.transaction() as conn:
        await defer(conn, job)
    return job


async def is_state(world: World, job: RequestActivation, state: str) -> bool:
    with contextlib.suppress(IndexError):
        return await world.state(job) == state
    return False


async def test_killed_between_command_and_proof_it_ends_well(
    real: World, engine: EngineProcess, car: Bus, keys: SigningKeys, vin: str
) -> None:
    """Issue 2: kill -9 and restart lets the story end well: nothing lost, nothing paid twice."""
    engine.start()
    job = await buy(real, vin)
    command = await next_command(car, keys)
    assert command.values == POWER_ON
    engine.end(signal.SIGKILL)
    # What the car says now waits in the broker for this client id.
    await apply(car, command)
    engine.start()
    await eventually(lambda: is_state(real, job, "ACTIVE"), "the service is active")
    row = await real.activation(job.activation_id)
    assert (row["charged"], row["total_attempts"]) == (True, 1)
    assert row["expires_at"] == command.valid_until
    assert len(await real.deferred("api.capture_payment")) == 1
    assert engine.end(signal.SIGTERM) == 0


async def test_killed_before_the_command_went_out_it_is_sent_once_started(
    real: World, engine: EngineProcess, car: Bus, keys: SigningKeys, vin: str
) -> None:
    """A crash between commit and publish: the scan publishes the same command."""
    real.bus.down = True
    job = await buy(real, vin)
    await real.do(job)  # this process is the engine that dies: it commits and cannot publish
    [row] = await real.sql("SELECT command_id FROM ota.command")
    engine.start()
    command = await next_command(car, keys)
    assert command.command_id == row["command_id"]
    await apply(car, command)
    await eventually(lambda: is_state(real, job, "ACTIVE"), "the service is active")
    assert len(await real.deferred("api.capture_payment")) == 1
    assert engine.end(signal.SIGTERM) == 0
