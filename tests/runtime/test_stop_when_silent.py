"""A service ends, and says why, though its database or broker took the line and says nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from core.keys import new_keys_file
from tests.broker_fixtures import RunningBroker, free_port, wait_until

# Longer than a supervisor waits (10 s) is too long; this is for a busy machine.
STOP_S = 30.0


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where every connection stands and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield listener.getsockname()[1]


def parts_of(port: int) -> dict[str, str] | None:
    """What the service says of its parts, or None while it does not answer."""
    try:
        urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10)
    except HTTPError as unhealthy:
        return json.load(unhealthy)["parts"]
    except (URLError, OSError):
        return None
    raise AssertionError("it calls itself healthy")


@pytest.mark.proof
@pytest.mark.parametrize("missing", ["database", "broker"])
@pytest.mark.parametrize("service", ["gateway", "ota-engine", "telemetry"])
def test_stops_with_a_silent(
    service: str,
    missing: str,
    silent: int,
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
) -> None:
    user = {"ota-engine": "svc-ota"}.get(service, f"svc-{service}")
    new_keys_file(tmp_path / "keys.json")
    port = free_port()
    environment = {
        **os.environ,
        "CAAS_DB_DSN": f"postgresql://caas@127.0.0.1:{silent}/caas"
        if missing == "database"
        else database,
        "CAAS_DB_SET_ROLE": "true",
        "CAAS_MQTT_PORT": str(silent if missing == "broker" else mosquitto_broker.port),
        "CAAS_MQTT_USERNAME": user,
        "CAAS_MQTT_PASSWORD": mosquitto_broker.secrets[user],
        "CAAS_SIGNING_KEYS_FILE": str(tmp_path / "keys.json"),
        "CAAS_OPS_PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", "caas", "run", service], env=environment)
    try:
        wait_until(lambda: parts_of(port) is not None or process.poll() is not None, "health page")
        assert process.poll() is None, "it ended by itself"
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


FAILING = """
import asyncio, sys
from caas.services import _run
from core.db import Database
from core.settings import DatabaseSettings, load

async def main(stop):
    dsn = f"postgresql://caas@127.0.0.1:{sys.argv[1]}/caas"
    database = Database(load(DatabaseSettings, dsn=dsn), role="caas_ota")
    await database.pool.open(wait=False)
    while database.pool.get_stats().get("connections_num", 0) == 0:
        await asyncio.sleep(0.01)
    raise RuntimeError("the reason it ended")

asyncio.run(_run(main))
"""


def test_a_service_that_failed_while_its_pool_connects_ends_and_says_why(silent: int) -> None:
    """The pool's workers swallow the one cancellation of asyncio.run, which then waits for ever."""
    ended = subprocess.run(
        [sys.executable, "-c", FAILING, str(silent)],
        capture_output=True,
        text=True,
        timeout=STOP_S,
        check=False,
    )
    assert ended.returncode == 1
    assert "the reason it ended" in ended.stderr
