"""What a child process is, and its log file."""

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from caas.supervisor.ready import Ready

State = Literal["starting", "ready", "failed", "restarting", "stopped"]

ROTATE_BYTES = 10 * 1024 * 1024
LAST_LINES = 6


# Called with the child's name, its new state, and one line for a person or an empty text.
EventHandler = Callable[[str, State, str], None]


@dataclass(frozen=True)
class Child:
    """A program to keep running.

    ``env`` is the whole environment (None = ours). ``popen_kwargs`` goes to the process creation
    (``user``, ``group``, ``extra_groups``) and wins over the other fields. ``needs`` names the
    children that must be ready first and that stop after this one.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    ready: Ready | None = None  # None: ready as soon as it runs
    stop_signal: signal.Signals = signal.SIGTERM
    restart: bool = True
    needs: Sequence[str] = ()
    start_deadline_s: float = 30.0
    stop_deadline_s: float = 10.0
    # Quick deaths that the first start puts up with, for a program that may have to wait for
    # what an earlier run left to go away.
    start_retries: int = 0
    # Deaths soon after the start, in a row, after which starting again is given up.
    max_quick_deaths: int = 5
    popen_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])


class ChildLog:
    """``<data>/logs/<name>.log``: appended to, rotated when it has grown large."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = 0

    def open(self) -> int:
        """A file descriptor for the next run of the child; the caller closes it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size > ROTATE_BYTES:
            self.path.replace(self.path.with_suffix(".log.1"))
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._begin = os.fstat(fd).st_size
        return fd

    def last_lines(self, count: int = LAST_LINES) -> list[str]:
        """The last lines of the present run, without empty ones."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._begin, size - 16_384))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return [line.strip() for line in text.splitlines() if line.strip()][-count:]


def describe_exit(returncode: int) -> str:
    """An exit status in words."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"
