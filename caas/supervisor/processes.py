"""Looks at and signals processes that need not be our children, on Linux and macOS."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

POLL_S = 0.02


def started_at(pid: int) -> str | None:
    """When the process started, as text that tells two owners of one pid apart; None = gone.

    A zombie counts as gone: it holds nothing and only waits for its parent.
    """
    if sys.platform.startswith("linux"):
        return _started_at_proc(pid)
    return _started_at_ps(pid)


def _started_at_proc(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command in parentheses may hold spaces and parentheses: fields begin after the last one.
    fields = stat.rpartition(")")[2].split()
    state, start_ticks = fields[0], fields[19]
    return None if state in "ZX" else start_ticks


def _started_at_ps(pid: int) -> str | None:
    # Slim containers have no ps, but those are Linux and have /proc.
    shown = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if len(shown) < 2 or shown[0].startswith("Z") else shown[1].strip()


def command_of(pid: int) -> str:
    """The command line of a process, arguments separated by spaces; empty = gone."""
    if sys.platform.startswith("linux"):
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return ""
        return raw.replace(b"\0", b" ").decode(errors="replace").strip()
    return subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    return started_at(pid) is not None


def signal_group(pgid: int, number: signal.Signals) -> None:
    """Signal every process of a group; a group that is gone is fine."""
    try:
        os.killpg(pgid, number)
    except (ProcessLookupError, PermissionError):
        # macOS answers EPERM where only zombies are left.
        return


def wait_until(condition: Callable[[], bool], deadline_s: float) -> bool:
    """Poll until the condition holds; False when ``deadline_s`` seconds have passed first."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(POLL_S)
    return True


def stop_group(pid: int, stop_signal: signal.Signals, grace_s: float) -> None:
    """End a process that leads its group: ask, wait ``grace_s`` seconds, then kill the group."""
    signal_group(pid, stop_signal)
    wait_until(lambda: not alive(pid), grace_s)
    signal_group(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), grace_s)
