"""The container's entry point, run here as it is in compose but below another folder."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from caas.brokers.mosquitto import override, source_file
from core.passwords import PasswordFile
from tests.broker_fixtures import connack_code, free_port, wait_until

ACCEPTED = 0


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


def test_a_password_the_gateway_writes_works_without_a_restart(root: Path) -> None:
    port = free_port()
    config = root / "config"
    shutil.copytree(source_file("acl").parent, config)
    conf = config / "mosquitto.conf"
    conf.write_text(override(conf.read_text(), {"listener": f"{port} 127.0.0.1"}))
    passwords = PasswordFile(root / "secrets" / "passwords")
    passwords.set("first", "secret of first")
    script = subprocess.Popen(
        [config / "reload-on-change.sh"],
        env={**os.environ, "MOSQUITTO_ROOT": str(root), "PATH": f"{os.environ['PATH']}:/usr/sbin"},
    )
    try:
        wait_until(lambda: code(port, "first", "secret of first") == ACCEPTED, "it starts")
        assert code(port, "second", "secret of second") != ACCEPTED
        passwords.set("second", "secret of second")
        wait_until(lambda: code(port, "second", "secret of second") == ACCEPTED, "it reloads")
    finally:
        script.terminate()
        script.wait(20)
    assert script.returncode == 0
    assert (root / "data" / "mosquitto.db").is_file()
