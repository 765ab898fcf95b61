"""Outlives a supervisor that was killed, just long enough to stop the children it left.

A small process of its own reads the pids to look after from a pipe whose writing end only the
supervisor holds. The pipe closes however the supervisor ends, kill -9 included, and then the
keeper stops what is still on its list. This works the same on Linux and macOS and reaches the
children's children, which a parent-death signal does not.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from caas.supervisor.processes import stop_group

GRACE_S = 8.0
# Isolated (no environment, no site-packages), so it starts in a moment and cannot be misled.
ROOT = Path(__file__).parents[2]
PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from caas.supervisor.keeper import main; main()"
)


class Keeper:
    """The supervisor's side: tells the keeper process which groups to end if we die."""

    def __init__(self, pass_fds: Sequence[int] = ()) -> None:
        """Start the keeper; ``pass_fds`` (a lock) stay open until the keeper's work is done."""
        self._pass_fds = tuple(pass_fds)
        self._watched: dict[int, int] = {}
        self._process = self._spawn()

    @property
    def pid(self) -> int:
        """Process id of the keeper."""
        return self._process.pid

    def watch(self, pid: int, stop_signal: signal.Signals) -> None:
        """Look after the group that ``pid`` leads."""
        self._watched[pid] = int(stop_signal)
        self._tell(f"+ {pid} {int(stop_signal)}")

    def forget(self, pid: int) -> None:
        """The group is gone; its number may soon be another's."""
        if self._watched.pop(pid, None) is not None:
            self._tell(f"- {pid}")

    def close(self) -> None:
        """End the keeper; it stops what it still looks after, then it is gone."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()

    def _spawn(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", PROGRAM, str(ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            pass_fds=self._pass_fds,
            start_new_session=True,
            cwd="/",
        )

    def _tell(self, line: str) -> None:
        try:
            self._write(line)
        except BrokenPipeError:
            # Somebody killed the keeper: have a new one, with everything on its list.
            self._process.wait()
            self._process = self._spawn()
            for pid, number in self._watched.items():
                self._write(f"+ {pid} {number}")

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def main() -> None:
    """The keeper process: follow the pipe to its end, then stop what is left, last first."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[int, signal.Signals] = {}
    with os.fdopen(0, encoding="ascii") as pipe:
        for line in pipe:
            sign, pid, *number = line.split()
            if sign == "+":
                watched[int(pid)] = signal.Signals(int(number[0]))
            else:
                watched.pop(int(pid), None)
    for pid, stop_signal in reversed(watched.items()):
        stop_group(pid, stop_signal, GRACE_S)
