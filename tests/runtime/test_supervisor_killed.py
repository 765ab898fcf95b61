"""However a supervisor ends, its children end with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from caas.supervisor.lock import stop_leftovers
from caas.supervisor.processes import alive, wait_until
from caas.supervisor.supervisor import Supervisor

ROOT = Path(__file__).parents[2]


class Host:
    """A supervisor in a process of its own."""

    def __init__(self, data: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.runtime.host", str(data)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        *self.children, self.keeper = [int(p) for p in self.process.stdout.readline().split()]

    def gone(self) -> bool:
        return not any(alive(pid) for pid in (*self.children, self.keeper))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    assert len(host.children) == 3
    assert all(alive(pid) for pid in (*host.children, host.keeper))
    yield host
    host.close()
    assert wait_until(host.gone, 30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_stops_everything(host: Host, number: signal.Signals) -> None:
    host.process.send_signal(number)
    said, _ = host.process.communicate(timeout=30)
    assert host.process.returncode == 0
    assert said.strip() == f"stopped by {number.name}"
    assert host.gone()


def test_kill_9_leaves_nothing(host: Host) -> None:
    host.process.kill()
    host.process.wait()
    assert wait_until(host.gone, 30)


async def test_the_next_run_waits_for_the_rest_of_a_killed_one(host: Host, tmp_path: Path) -> None:
    host.process.kill()
    host.process.wait()
    async with Supervisor(tmp_path):
        assert host.gone()


async def test_the_next_run_stops_what_even_the_keeper_left(host: Host, tmp_path: Path) -> None:
    os.kill(host.keeper, signal.SIGKILL)
    host.process.kill()
    host.process.wait()
    database, service, _ = host.children
    assert alive(database)
    assert alive(service)
    stopped: list[str] = []
    async with Supervisor(tmp_path, on_event=lambda name, *_: stopped.append(name)):
        # What was killed is gone when the kernel comes to it.
        assert wait_until(host.gone, 30)
    assert sorted(stopped) == ["database", "service"]


def test_a_pid_that_is_another_process_now_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    pidfile = tmp_path / "run" / "api.pid"
    pidfile.write_text(f'{{"pid": {os.getpid()}, "started": "long ago", "signal": 15}}')
    (tmp_path / "run" / "torn.pid").write_text('{"pid": 1')
    assert stop_leftovers(tmp_path) == []
    assert not pidfile.exists()
