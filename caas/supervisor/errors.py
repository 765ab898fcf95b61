"""What the supervisor says when it cannot keep its promise: one line a person can act on."""

import signal
from collections.abc import Sequence
from pathlib import Path


class SupervisorError(Exception):
    """Base: the message is fit to be printed as it is."""


class StartFailed(SupervisorError):
    """A child did not become ready."""

    def __init__(self, name: str, what: str, lines: Sequence[str], log: Path) -> None:
        self.name = name
        self.reason = "\n".join(lines) or what
        self.log = log
        said = f": {' | '.join(lines)}" if lines else ""
        super().__init__(f"{name} did not start: {what}{said} (log: {log})")


class GaveUp(SupervisorError):
    """A child kept dying soon after each start."""

    def __init__(self, name: str, deaths: int, what: str, lines: Sequence[str], log: Path) -> None:
        self.name = name
        self.reason = "\n".join(lines) or what
        self.log = log
        said = f": {' | '.join(lines)}" if lines else ""
        super().__init__(
            f"{name} died {deaths} times in a row, giving up; last: {what}{said} (log: {log})"
        )


class AlreadyRunning(SupervisorError):
    """Another supervisor works on the same data folder."""

    def __init__(self, data_dir: Path, pid: int | None) -> None:
        self.pid = pid
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"{who} already runs the platform on {data_dir}: stop it first")


class StoppedEarly(SupervisorError):
    """A stop signal came while the children were being started; those that ran are stopped."""

    def __init__(self, by: signal.Signals | None) -> None:
        self.by = by
        super().__init__(f"stopped by {by.name if by else 'a signal'} before everything was up")
