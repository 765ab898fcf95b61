"""Small programs for the supervisor's tests, and what they have in common."""

import sys
from collections.abc import Sequence
from pathlib import Path

from caas.supervisor.child import Child, State
from caas.supervisor.ready import Ready

# Says it is up by making a file, then does nothing until it is stopped.
SLEEPER = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
# The same, deaf to SIGTERM.
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER
# Has a child of its own that is deaf to SIGTERM, and writes its process id down.
PARENT = """
import pathlib, subprocess, sys, time
made = pathlib.Path(sys.argv[1] + ".made")
child = subprocess.Popen([sys.executable, "-c", sys.argv[2], str(made)])
while not made.exists():
    time.sleep(0.01)
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(600)
"""


def exists(file: Path) -> Ready:
    """Ready when the file is there."""

    async def check() -> bool:
        return file.exists()

    return check


def sleeper(tmp_path: Path, name: str, needs: Sequence[str] = (), program: str = SLEEPER) -> Child:
    """A child that is ready once its file is there."""
    file = tmp_path / f"{name}.up"
    return Child(
        name,
        [sys.executable, "-c", program, str(file), STUBBORN],
        ready=exists(file),
        needs=needs,
        stop_deadline_s=5,
    )


def says(program: str) -> list[str]:
    """The command of a Python program."""
    return [sys.executable, "-c", program]


class Events:
    """Collects the supervisor's events."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, State]] = []
        self.details: list[str] = []

    def __call__(self, name: str, state: State, detail: str) -> None:
        self.seen.append((name, state))
        self.details.append(detail)

    def before(self, first: tuple[str, State], second: tuple[str, State]) -> bool:
        """Whether both happened, in this order."""
        return self.seen.index(first) < self.seen.index(second)
