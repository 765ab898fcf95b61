"""Real brokers for the tests: Mosquitto and the embedded one, each started once a session."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from caas.brokers import BrokerPlan, plan_broker
from core.passwords import PasswordFile
from core.settings import BusSettings, load
from gateway.accounts.commands import Command, set_secret
from gateway.accounts.control import open_control

PREFIX = "caas/v1/vehicles"
SERVICES = ("svc-gateway", "svc-bridge", "svc-ota", "svc-telemetry", "svc-monitor")
DEADLINE_S = 20.0
ACCEPTED, NOT_AUTHORIZED = 0, 5


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once ``condition`` holds; an AssertionError that says ``what`` after 20 s."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.02)


class RunningBroker:
    """A broker of its own process, with the accounts of the services and those tests add."""

    def __init__(self, plan: BrokerPlan, host: str, port: int, passwords: PasswordFile) -> None:
        self.plan = plan
        self.host = host
        self.port = port
        self.passwords = passwords
        self.prefix = PREFIX
        self.secrets: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def is_running(self) -> bool:
        """Whether the process lives and answers."""
        return self._process is not None and self._process.poll() is None and self._answers()

    def start(self) -> None:
        """Start, and return once it answers."""
        self._process = subprocess.Popen(self.plan.argv, env={**os.environ, **self.plan.env})
        wait_until(self._answers, f"{self.plan.name} answers")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process and wait for it."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(DEADLINE_S)
            self._process = None

    def kill(self) -> None:
        """As a crash: nothing is saved."""
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        """In order, so a persistent broker keeps its sessions."""
        self.stop()
        self.start()

    def add_user(self, name: str, secret: str | None = None) -> str:
        """Add an account; returns its secret once the broker lets it in."""
        secret = secret or secrets.token_hex(32)
        self.passwords.set(name, secret)
        self.secrets[name] = secret
        if self._process is None:
            return secret
        if self.plan.live:
            self.control(set_secret(name, secret, "of a test"))
        if self.plan.name == "amqtt":
            # It looks at each sign-in; and a look of ours would have the vehicle's own client id.
            return secret
        wait_until(lambda: self.can_log_in(name, secret), f"{name} can log in")
        return secret

    def control(self, commands: Sequence[Command]) -> None:
        """Have the broker's plugin do this, as the gateway does."""

        async def run() -> None:
            async with open_control(self.settings("svc-gateway")) as control:
                await control.run(commands)

        # In a thread: the caller's own loop may be running.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, run()).result()

    def can_log_in(self, name: str, secret: str) -> bool:
        """Whether the broker accepts a CONNECT (3.1.1, clean session, a client id of its own)."""
        # The embedded broker holds a vehicle to its own client id.
        own = self.plan.name == "amqtt" and name not in SERVICES
        try:
            code = connack_code(self.host, self.port, name, secret, name if own else None)
            return code == ACCEPTED
        except OSError:
            return False

    def settings(self, user: str, *, protocol: str | None = None) -> BusSettings:
        """Settings of a client that signs in as ``user``."""
        return load(
            BusSettings,
            host=self.host,
            port=self.port,
            username=user,
            password=self.secrets[user],
            protocol=protocol or self.plan.protocol,
            prefix=self.prefix,
        )

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.plan.name} ended by itself"
        try:
            connack_code(self.host, self.port, "nobody", "nothing")
        except OSError:
            return False
        return True


def connack_code(host: str, port: int, user: str, secret: str, client_id: str | None = None) -> int:
    """The return code of a CONNECT, by hand: independent of the clients under test."""

    def text(value: str) -> bytes:
        return len(value.encode()).to_bytes(2) + value.encode()

    body = text("MQTT") + bytes([4, 0b1100_0010, 0, 30])
    body += text(client_id or f"probe-{secrets.token_hex(6)}") + text(user) + text(secret)
    assert len(body) < 16384
    length = bytes([len(body) % 128 | 128, len(body) // 128])
    with socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(b"\x10" + length + body)
        answer = connection.recv(4)
        if len(answer) < 4:
            raise ConnectionError("no CONNACK")
        connection.sendall(b"\xe0\x00")
        return answer[3]


def run_broker(data_dir: Path, prefer: str) -> Iterator[RunningBroker]:
    """A started broker with the services' accounts; ended afterwards."""
    passwords = PasswordFile(data_dir / "passwords")
    port = free_port()
    chosen: dict[str, str] = {name: secrets.token_hex(32) for name in SERVICES}
    for name, secret in chosen.items():
        passwords.set(name, secret)
    plan = plan_broker(
        data_dir,
        host="127.0.0.1",
        port=port,
        passwords=passwords.path,
        prefix=PREFIX,
        prefer="mosquitto" if prefer == "mosquitto" else "amqtt",
    )
    broker = RunningBroker(plan, "127.0.0.1", port, passwords)
    broker.secrets.update(chosen)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def mosquitto_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """Mosquitto with the production configuration."""
    yield from run_broker(tmp_path_factory.mktemp("mosquitto"), "mosquitto")


@pytest.fixture(scope="session")
def amqtt_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """The embedded broker."""
    assert sys.executable
    yield from run_broker(tmp_path_factory.mktemp("amqtt"), "amqtt")
