"""A real process of the partner simulators, and a receiver in the platform's place."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


def wait_for(condition: Callable[[], T], *, timeout_s: float = 20.0) -> T:
    """The first true value of ``condition``; fails after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, "the awaited thing did not happen"
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [bound.getsockname()[1] for bound in sockets]


@dataclass(frozen=True)
class Received:
    """One webhook as it arrived."""

    path: str
    headers: dict[str, str]
    raw: bytes
    answered: int

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)


@dataclass
class Platform:
    """Answers ``status`` to every webhook and remembers it."""

    url: str = ""
    status: int = 200
    received: list[Received] = field(default_factory=list)

    def of(self, path_end: str) -> list[Received]:
        return [webhook for webhook in list(self.received) if webhook.path.endswith(path_end)]

    def accepted(self, path_end: str) -> list[dict[str, Any]]:
        return [webhook.body for webhook in self.of(path_end) if webhook.answered == 200]


@contextlib.contextmanager
def receiving() -> Generator[Platform]:
    """A platform that listens."""
    state = Platform()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            answered = state.status
            state.received.append(Received(self.path, dict(self.headers), raw, answered))
            self.send_response(answered)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:  # a thread that is left keeps the whole run from ending
        server.shutdown()
        server.server_close()
        thread.join()


class Partners:
    """The process, which can be killed and started again on the same data."""

    def __init__(self, data_dir: Path, platform_url: str, settings: dict[str, str]) -> None:
        self.port, self.smtp_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.secrets = {
            name: secrets.token_hex(8)
            for name in (
                "FACTORY_TOKEN",
                "PAYMENT_TOKEN",
                "AUTHORITY_TOKEN",
                "VSS_CLIENT_SECRET",
                "FACTORY_WEBHOOK_SECRET",
                "PAYMENT_WEBHOOK_SECRET",
                "AUTHORITY_WEBHOOK_SECRET",
            )
        }
        values = {
            "PORT": str(self.port),
            "SMTP_PORT": str(self.smtp_port),
            "PLATFORM_URL": platform_url,
            "DATA_DIR": str(data_dir),
            "STEP_DELAY_S": "0.05",
            "REGISTRATION_DELAY_S": "0",
            "REVIEW_DELAY_S": "0.2",
            "PENDING_DELAY_S": "0.1",
            "SETTLE_DELAY_S": "0.1",
            "REFUND_DELAY_S": "0.1",
            "WEBHOOK_RETRY_DELAYS_S": "[0.1, 0.1, 0.1, 0.1, 0.1]",
            **self.secrets,
            **settings,
        }
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CAAS_")},
            **{f"CAAS_PARTNERS_{name}": value for name, value in values.items()},
        }
        self._log = data_dir / "log"
        self.http = httpx.Client(base_url=self.url, timeout=10, trust_env=False)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "partner_sims"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        wait_for(self._is_healthy)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> int:
        """Ask it to stop; its exit status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(timeout=15)
        self.process = None
        return status

    def close(self) -> None:
        self.http.close()
        if self.process is not None:
            self.stop()

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def bearer(self, partner: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secrets[f'{partner}_TOKEN']}"}

    def fault(self, partner: str, mode: str, **more: Any) -> None:
        answer = self.http.put(f"/faults/{partner}", json={"mode": mode, **more})
        assert answer.status_code == 200, answer.text

    def _is_healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            return self.http.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False


Start = Callable[..., Partners]
