"""`caas run broker-log` beside a broker: a line and a number for who was refused."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.broker.raw import Identity
from tests.broker.world import A, B, World, running, topic
from tests.broker_fixtures import free_port, wait_until


class Service:
    """The running service and what it has said."""

    def __init__(self, world: World, output: Path) -> None:
        self.port = free_port()
        self._output = output
        environment = {
            **os.environ,
            "CAAS_BROKER_LOG_FILE": str(world.log),
            "CAAS_OPS_PORT": str(self.port),
        }
        with output.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "caas", "run", "broker-log"], env=environment, stderr=file
            )
        wait_until(lambda: "caas_broker" in self.metrics(), "it answers")

    def metrics(self) -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False).text
        except httpx.HTTPError:
            return ""

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._output.read_text().splitlines()]

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(20)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("logged")) as made:
        yield made


def be_refused(world: World) -> None:
    with world.at_secrets(world.by_secret(A)) as attacker:
        attacker.connect(A)
        attacker.publish(topic(B, "status"), b"forged")


def denied(service: Service) -> list[dict[str, Any]]:
    return [line for line in service.lines() if line["message"] == "broker_denied"]


def test_a_refusal_is_a_line_and_a_number(world: World, tmp_path: Path) -> None:
    service = Service(world, tmp_path / "output")
    try:
        be_refused(world)
        with world.at_secrets(Identity(user=A, secret="wrong")) as attacker:
            attacker.connect(A)
            wait_until(lambda: len(denied(service)) == 2, "both are told")
            publish, sign_in = denied(service)
            assert publish.items() >= {
                "kind": "publish", "what": topic(B, "status"), "client": A, "user": A,
                "level": "warning", "service": "broker-log",
            }.items()  # fmt: skip
            assert sign_in["kind"] == "sign_in"
            assert sign_in["address"] == f"127.0.0.1:{attacker.local_port}"
        metrics = service.metrics()
        assert 'caas_broker_denials_total{kind="publish"} 1.0' in metrics
        assert 'caas_broker_denials_total{kind="tls"} 0.0' in metrics
    finally:
        assert service.stop() == 0
    assert world.log.read_bytes() == b""


def test_what_happens_while_it_is_away_is_told_when_it_is_back(
    world: World, tmp_path: Path
) -> None:
    """And the broker does not wait for it."""
    service = Service(world, tmp_path / "output")
    assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    before = len(denied(service))
    be_refused(world)
    again = Service(world, tmp_path / "output")
    try:
        wait_until(lambda: len(denied(again)) > before, "told afterwards")
        assert denied(again)[-1]["what"] == topic(B, "status")
    finally:
        assert again.stop() == 0


def test_a_log_that_cannot_be_read_is_bad_health_and_no_end(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        **os.environ, "CAAS_BROKER_LOG_FILE": str(tmp_path), "CAAS_OPS_PORT": str(port),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "caas", "run", "broker-log"],
        env=environment,
        stderr=subprocess.DEVNULL,
    )

    def says_so() -> bool:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 503 and "cannot read" in answer.text

    try:
        wait_until(says_so, "it says so")
    finally:
        process.terminate()
        assert process.wait(20) == 0
