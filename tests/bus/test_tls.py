"""The bus over TLS, on real Mosquitto: whom a client believes, and how it shows who it is."""

import asyncio
import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from caas.brokers.mosquitto import find_mosquitto, override, render_config
from caas.supervisor.processes import wait_until
from core.bus import BusUnavailable, PublishFailed, Subscription, open_bus
from core.errors import SettingsError
from core.settings import BusSettings, load
from tests.broker_fixtures import free_port
from tests.bus.certificates import DAY, Authority, Pair

VIN = "VF1AURXRA00000017"
OTHER_VIN = "VF1AURXRA00000025"
PREFIX = "caas/v1/vehicles"
DEADLINE_S = 20.0


@contextmanager
def broker(folder: Path, ca: Authority, server: Pair, port: int | None = None) -> Generator[int]:
    """The production configuration with its listener made one for certificates."""
    program = find_mosquitto()
    assert program is not None
    port = port or free_port()
    config = render_config(folder, host="127.0.0.1", port=port, passwords=folder / "passwords")
    tls = {
        "user": "root",
        "cafile": str(ca.file),
        "certfile": str(server.cert),
        "keyfile": str(server.key),
        "require_certificate": "true",
        "use_identity_as_username": "true",
    }
    config.write_text(override(config.read_text(encoding="utf-8"), tls), encoding="utf-8")
    log = folder / "broker.log"
    with log.open("wb") as output:
        process = subprocess.Popen([str(program), "-c", str(config)], stderr=output)
    try:
        assert wait_until(lambda: _listens(port), DEADLINE_S), log.read_text(encoding="utf-8")
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(params=["5", "3.1.1"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def settings(port: int, ca: Path, own: Pair | None, protocol: str) -> BusSettings:
    files: dict[str, Any] = {} if own is None else {"cert_file": own.cert, "key_file": own.key}
    return load(
        BusSettings,
        host="127.0.0.1",
        port=port,
        protocol=protocol,
        tls=True,
        ca_file=ca,
        **files,
    )


async def test_a_certificate_is_all_a_vehicle_needs(
    authority: Authority, tmp_path: Path, protocol: str
) -> None:
    """No entry in the password file, no rule of its own: the common name is the user."""
    server = authority.issue("broker", hosts=["127.0.0.1"])
    with broker(tmp_path, authority, server) as port:
        service = open_bus(
            settings(port, authority.file, authority.issue("svc-telemetry"), protocol),
            client_id="a-service",
            subscriptions=[Subscription(f"{PREFIX}/+/status")],
        )
        vehicle = open_bus(
            settings(port, authority.file, authority.issue(VIN), protocol), client_id=VIN
        )
        await asyncio.wait_for(service.start(), DEADLINE_S)
        await asyncio.wait_for(vehicle.start(), DEADLINE_S)
        with contextlib.suppress(PublishFailed):  # 3.1.1 is not told
            await vehicle.publish(f"{PREFIX}/{OTHER_VIN}/status", b"another's")
        await vehicle.publish(f"{PREFIX}/{VIN}/status", b"its own")
        first = await asyncio.wait_for(anext(aiter(service.messages())), DEADLINE_S)
        assert (first.topic, first.payload) == (f"{PREFIX}/{VIN}/status", b"its own")
        await vehicle.close()
        await service.close()


async def test_it_comes_back_over_tls(authority: Authority, tmp_path: Path, protocol: str) -> None:
    server = authority.issue("broker", hosts=["127.0.0.1"])
    own = authority.issue(VIN)
    port = free_port()
    with broker(tmp_path, authority, server, port):
        vehicle = open_bus(settings(port, authority.file, own, protocol), client_id=VIN)
        await asyncio.wait_for(vehicle.start(), DEADLINE_S)
    with broker(tmp_path, authority, server, port):
        await vehicle.publish(f"{PREFIX}/{VIN}/status", b"{}", timeout_s=DEADLINE_S)
        await vehicle.close()


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ("stranger", "unable to get local issuer certificate|self.signed certificate"),
        ("other host", "IP address mismatch|certificate is not valid for"),
        ("expired", "certificate has expired"),
    ],
)
async def test_a_broker_that_is_not_ours_is_not_believed(
    authority: Authority, tmp_path: Path, protocol: str, flaw: str, said: str
) -> None:
    signer = Authority(tmp_path / "stranger") if flaw == "stranger" else authority
    server = signer.issue(
        "broker",
        hosts=["broker.example" if flaw == "other host" else "127.0.0.1"],
        age=20 * DAY if flaw == "expired" else DAY,
    )
    with broker(tmp_path, authority, server) as port, structlog.testing.capture_logs() as logs:
        vehicle = open_bus(
            settings(port, authority.file, authority.issue(VIN), protocol), client_id=VIN
        )
        starting = asyncio.create_task(vehicle.start())
        await eventually(
            lambda: any(re.search(said, str(line)) for line in logs), f"{said}: {logs}"
        )
        assert not vehicle.connected
        await vehicle.close()
        with contextlib.suppress(BusUnavailable, asyncio.CancelledError):
            starting.cancel()
            await starting


@pytest.mark.parametrize("flaw", ["none", "stranger", "expired"])
async def test_a_vehicle_without_a_good_certificate_stays_outside(
    authority: Authority, tmp_path: Path, protocol: str, flaw: str
) -> None:
    server = authority.issue("broker", hosts=["127.0.0.1"])
    own = {
        "none": lambda: None,
        "stranger": lambda: Authority(tmp_path / "stranger").issue(VIN),
        "expired": lambda: authority.issue(VIN, age=20 * DAY),
    }[flaw]()
    with broker(tmp_path, authority, server) as port, structlog.testing.capture_logs() as logs:
        vehicle = open_bus(settings(port, authority.file, own, protocol), client_id=VIN)
        starting = asyncio.create_task(vehicle.start())
        await eventually(lambda: any("reason" in line for line in logs), "it is refused")
        assert not vehicle.connected
        assert not starting.done()
        await vehicle.close()
        with contextlib.suppress(BusUnavailable, asyncio.CancelledError):
            starting.cancel()
            await starting


def test_files_that_cannot_be_used_are_one_clear_line(authority: Authority, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    with pytest.raises(SettingsError, match="CAAS_MQTT_CA_FILE"):
        open_bus(settings(1, nothing, None, "5"), client_id=VIN)
    with pytest.raises(SettingsError, match="CAAS_MQTT_CERT_FILE"):
        open_bus(settings(1, authority.file, Pair(nothing, nothing), "5"), client_id=VIN)
    plain = load(BusSettings, cert_file=nothing)
    with pytest.raises(SettingsError, match="CAAS_MQTT_TLS"):
        open_bus(plain, client_id=VIN)


async def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        await asyncio.sleep(0.02)
