"""Gateway and ingestor as processes, on a real broker and database, under what no car may send."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from core.bus import Bus, Message, PublishFailed, open_bus
from core.keys import new_keys_file
from telemetry.decode import Reader
from tests.broker_fixtures import PREFIX, RunningBroker, free_port, run_broker, wait_until
from tests.fuzz.decoders import VIN, good
from tests.fuzz.mutations import Sent, messages

UNKNOWN = "VF1AURXRA00000025"
NO_VIN = "no-vin"
STOP_S = 30.0
DEADLINE_S = 120.0
AT_ONCE = 50
Said = Counter[tuple[str, bytes]]


@dataclass
class Service:
    """A service as a process."""

    process: subprocess.Popen[bytes]
    url: str

    def count(self, name: str, **labels: str) -> int:
        """The sum of a counter over every label that is not named."""
        text = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=20).text
        return sum(
            int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def healthy(self) -> bool:
        assert self.process.poll() is None, "the service ended by itself"
        try:
            answer = httpx.get(f"{self.url}/healthz", trust_env=False, timeout=20)
        except httpx.TransportError:
            return False
        return answer.status_code == 200


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    """Of its own: sessions of other tests' services would bring their messages."""
    yield from run_broker(tmp_path / "broker", "mosquitto")


@pytest.fixture
def seeded(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO config.vehicle_model"
            " (code, name, engine_type, firmware_version, base_price_minor)"
            " VALUES ('AURORA', 'Aurora', 'ELECTRIC', '2.4.1', 3500000)"
        )
        conn.execute(
            "INSERT INTO gateway.vehicle (vin, model, firmware) VALUES (%s, 'AURORA', '2.4.1')",
            [VIN],
        )
    return database


@pytest.fixture
def services(seeded: str, broker: RunningBroker, tmp_path: Path) -> Iterator[dict[str, Service]]:
    """Gateway and ingestor, healthy."""
    new_keys_file(tmp_path / "keys.json")
    running: dict[str, Service] = {}
    try:
        for name in ("gateway", "telemetry"):
            port = free_port()
            environment = {
                **os.environ,
                "CAAS_DB_DSN": seeded,
                "CAAS_DB_SET_ROLE": "true",
                "CAAS_MQTT_PORT": str(broker.port),
                "CAAS_MQTT_USERNAME": f"svc-{name}",
                "CAAS_MQTT_PASSWORD": broker.secrets[f"svc-{name}"],
                "CAAS_SIGNING_KEYS_FILE": str(tmp_path / "keys.json"),
                "CAAS_OPS_PORT": str(port),
            }
            argv = [sys.executable, "-m", "caas", "run", name]
            process = subprocess.Popen(argv, env=environment)
            running[name] = Service(process, f"http://127.0.0.1:{port}")
        for service in running.values():
            wait_until(service.healthy, "the service is healthy")
        yield running
    finally:
        for service in running.values():
            service.process.send_signal(signal.SIGTERM)
            code = service.process.wait(STOP_S)
            assert code == 0


@contextlib.asynccontextmanager
async def car(broker: RunningBroker, name: str) -> AsyncGenerator[Bus]:
    broker.add_user(name)
    bus = open_bus(broker.settings(name), client_id=name, role="test")
    await bus.start()
    yield bus
    await bus.close()


async def say(bus: Bus, topic: str, payload: bytes, *, retain: bool = False) -> bool:
    """Whether the broker took it; what is far too large it refuses itself."""
    try:
        await bus.publish(topic, payload, retain=retain, timeout_s=DEADLINE_S)
    except PublishFailed as refused:
        if refused.reason != "PACKET_TOO_LARGE":
            raise
        return False
    return True


def drawn(count: int, now: datetime) -> list[tuple[Sent, bool]]:
    """That many messages, and whether each is retained."""
    found: list[tuple[Sent, bool]] = []

    @settings(
        max_examples=count,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(messages(now), st.booleans())
    def collect(sent: Sent, retain: bool) -> None:
        found.append((sent, retain))

    collect()
    return found


async def speak(broker: RunningBroker, found: list[tuple[Sent, bool]], now: datetime) -> Said:
    """Send everything, and a good message of every kind from those nobody knows; what went out."""
    said: Said = Counter()
    async with (
        car(broker, VIN) as known,
        car(broker, UNKNOWN) as unknown,
        car(broker, NO_VIN) as nobody,
    ):

        async def send(bus: Bus, name: str, leaf: str, payload: bytes, retain: bool) -> None:
            topic = f"{PREFIX}/{name}/{leaf}"
            if await say(bus, topic, payload, retain=retain):
                said[topic, payload] += 1

        for start in range(0, len(found), AT_ONCE):
            await asyncio.gather(
                *(
                    send(known, VIN, sent.topic, sent.payload, retain)
                    for sent, retain in found[start : start + AT_ONCE]
                )
            )
        for bus, name in ((unknown, UNKNOWN), (nobody, NO_VIN)):
            for leaf, payload in good(now).items():
                await send(bus, name, leaf, payload, False)
        await send(known, VIN, "event", good(now)["event"], False)
    return said


def quarantine(dsn: str) -> list[tuple[str, bytes, str]]:
    with psycopg.connect(dsn) as conn:
        rows = conn.execute("SELECT topic, payload, reason FROM telemetry.quarantine_v1")
        return [(topic, bytes(payload), reason) for topic, payload, reason in rows]


def must_be_refused(said: Said, now: datetime) -> Said:
    """Everything the pure decoder refuses, and everything of a car that is not enrolled."""
    reader = Reader(PREFIX, timedelta(days=40))
    return Counter(
        {
            (topic, payload): times
            for (topic, payload), times in said.items()
            if f"/{VIN}/" not in topic or reader.read(Message(topic, payload), now).refusal
        }
    )


async def hold(
    services: dict[str, Service], broker: RunningBroker, dsn: str, count: int
) -> Counter[str]:
    """Send ``count`` messages and check what became of each; how many by reason."""
    now = datetime.now(UTC)
    found = drawn(count, now)
    said = await speak(broker, found, now)
    gateway, telemetry = services["gateway"], services["telemetry"]
    names = ("caas_telemetry_messages_total", "caas_telemetry_quarantined_total")

    def taken() -> bool:
        assert gateway.process.poll() is None
        assert telemetry.process.poll() is None
        return (
            gateway.count("caas_gateway_messages_total") >= said.total()
            and sum(map(telemetry.count, names)) >= said.total()
        )

    async with asyncio.timeout(DEADLINE_S):
        while not await asyncio.to_thread(taken):
            await asyncio.sleep(0.1)
    # Nothing vanished and nothing came twice: no connection broke.
    assert gateway.count("caas_gateway_messages_total") == said.total()
    assert sum(map(telemetry.count, names)) == said.total()
    kept = quarantine(dsn)
    assert Counter((topic, payload) for topic, payload, _ in kept) == must_be_refused(said, now)
    hopeless = {
        (f"{PREFIX}/{VIN}/{sent.topic}", sent.payload) for sent, _ in found if sent.hopeless
    }
    assert hopeless & said.keys() <= {(topic, payload) for topic, payload, _ in kept}
    reasons = Counter(reason for _, _, reason in kept)
    assert "UNSTORABLE" not in reasons
    # The gateway keeps nothing and counts the same; it does not look into telemetry.
    seen = Counter(reason for topic, _, reason in kept if not topic.endswith("/telemetry"))
    for reason in ("MALFORMED", "NOT_JSON", "TOO_LARGE", "FROM_THE_FUTURE"):
        counted = gateway.count("caas_gateway_unusable_total", reason=reason)
        assert counted == seen[reason], reason
    assert gateway.healthy()
    assert telemetry.healthy()
    return reasons


async def test_nothing_a_car_sends_stops_a_service_or_vanishes(
    services: dict[str, Service], broker: RunningBroker, seeded: str
) -> None:
    reasons = await hold(services, broker, seeded, 1000)
    assert {
        "NOT_JSON",
        "MALFORMED",
        "FROM_THE_FUTURE",
        "UNKNOWN_VIN",
        "BAD_TOPIC",
    } <= reasons.keys()


@pytest.mark.proof
async def test_nothing_of_very_much_stops_a_service_or_vanishes(
    services: dict[str, Service], broker: RunningBroker, seeded: str
) -> None:
    reasons = await hold(services, broker, seeded, 8000)
    assert {"NOT_JSON", "MALFORMED", "TOO_LARGE", "FROM_THE_FUTURE"} <= reasons.keys()
