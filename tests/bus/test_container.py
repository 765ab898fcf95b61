"""The container's entry point, run here as it is in compose but below another folder."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from caas.brokers.mosquitto import override, source_file
from core.passwords import PasswordFile
from core.settings import BusSettings, load
from gateway.accounts.commands import REVOKED_ROLE, revoke, set_secret
from gateway.accounts.control import open_control
from gateway.registry.ca import init_authority, write_crl, write_server
from gateway.registry.x509 import Revoked, issue_vehicle, pem, serial_of
from tests.broker.raw import Identity, Raw
from tests.broker_fixtures import connack_code, free_port, wait_until

ACCEPTED = 0
VIN = "VF1AURXRA00000017"


def code(port: int, user: str, secret: str) -> int | None:
    try:
        return connack_code("127.0.0.1", port, user, secret)
    except OSError:
        return None


@pytest.fixture
def root() -> Iterator[Path]:
    """The container's /mosquitto; the broker in it drops root, so it must be able to get there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o711)
        yield path


class Container:
    """The script with a Mosquitto of this machine."""

    def __init__(self, root: Path, **environment: str) -> None:
        self.root, self.port = root, free_port()
        config = root / "config"
        shutil.copytree(source_file("acl").parent, config)
        conf = config / "mosquitto.conf"
        conf.write_text(override(conf.read_text(), {"listener": f"{self.port} 127.0.0.1"}))
        self.certificates, self.secret_door = free_port(), free_port()
        tls = config / "tls.conf"
        text = tls.read_text().replace("listener 8883", f"listener {self.certificates} 127.0.0.1")
        tls.write_text(text.replace("listener 8884", f"listener {self.secret_door} 127.0.0.1"))
        self.passwords = PasswordFile(root / "secrets" / "passwords")
        path = f"{os.environ['PATH']}:/usr/sbin"
        # Looks are half a second apart.
        own = {"MOSQUITTO_ROOT": str(root), "PATH": path, "CAAS_BROKER_QUIET_LOOKS": "1"}
        self.script = subprocess.Popen(
            [config / "reload-on-change.sh"], env={**os.environ, **own, **environment}
        )

    def lets_in(self, user: str) -> bool:
        return code(self.port, user, f"secret of {user}") == ACCEPTED

    def add(self, user: str) -> None:
        self.passwords.set(user, f"secret of {user}")

    def wait_for(self, user: str) -> None:
        wait_until(lambda: self.lets_in(user), f"{user} is let in")

    def end(self) -> None:
        self.script.terminate()
        self.script.wait(20)


@pytest.fixture
def start(root: Path) -> Iterator[Callable[..., Container]]:
    started: list[Container] = []

    def make(**environment: str) -> Container:
        started.append(Container(root, **environment))
        return started[-1]

    yield make
    for container in started:
        container.end()
        assert container.script.returncode == 0
    assert (root / "data" / "mosquitto.db").is_file()


def as_gateway(container: Container) -> BusSettings:
    return load(
        BusSettings,
        host="127.0.0.1",
        port=container.port,
        username="svc-gateway",
        password="secret of svc-gateway",
    )


async def test_the_gateway_gets_in_and_then_changes_accounts_without_a_restart(
    start: Callable[..., Container],
) -> None:
    container = start()
    # Whoever writes the password file starts later than the broker.
    await asyncio.to_thread(wait_until, lambda: code(container.port, "x", "x") is not None, "up")
    container.add("svc-gateway")
    await asyncio.to_thread(container.wait_for, "svc-gateway")
    async with open_control(as_gateway(container)) as control:
        await control.run(set_secret("first", "secret of first", "tag"))
        assert container.lets_in("first")
        role = await control.role(REVOKED_ROLE)
        assert role is not None
        written = container.passwords.path.stat().st_mtime
        assert abs(float(role["textdescription"]) - written) < 1
        await control.run(revoke("first"))
        assert not container.lets_in("first")
        assert control.connected


def test_without_the_plugin_a_change_is_a_restart(start: Callable[..., Container]) -> None:
    container = start(MOSQUITTO_PLUGINS="")
    wait_until(lambda: code(container.port, "x", "x") is not None, "it starts")
    for user in ("first", "second"):
        container.add(user)
    container.wait_for("second")
    assert container.lets_in("first")


def test_vehicles_have_doors_with_tls_and_refusals_a_log(
    root: Path, start: Callable[..., Container]
) -> None:
    now = datetime.now(UTC)
    authority = init_authority(root / "ca", now, timedelta(days=7))
    write_server(root / "ca", root / "ca", ["127.0.0.1"], now)
    (root / "log").mkdir()
    container = start()
    key = ec.generate_private_key(ec.SECP256R1())
    made = issue_vehicle(authority, VIN, key.public_key(), now, timedelta(days=1))
    identity = Identity(root / "car.crt", root / "car.key")
    assert identity.cert is not None
    assert identity.key is not None
    identity.cert.write_bytes(pem(made))
    identity.key.write_bytes(pem(key))
    container.add(VIN)
    container.wait_for(VIN)
    ca = root / "ca" / "ca.crt"
    with Raw(container.certificates, ca=ca, identity=identity) as raw:
        assert raw.connect("any") == ACCEPTED
    by_secret = Identity(user=VIN, secret=f"secret of {VIN}")
    with Raw(container.secret_door, ca=ca, identity=by_secret) as raw:
        assert raw.connect("any") == ACCEPTED
    write_crl(root / "ca", authority, [Revoked(serial_of(made), now)], now, timedelta(days=7))
    with (
        pytest.raises(OSError, match=r".*"),
        Raw(container.certificates, ca=ca, identity=identity) as raw,
    ):
        raw.connect("any")
    log = root / "log" / "mosquitto.log"
    wait_until(lambda: "certificate verify failed" in log.read_text(), "it is in the log")
    assert log.stat().st_mode & 0o777 == 0o666
