"""One supervisor a data folder: a lock that a crash releases, and what a crash left behind."""

import fcntl
import json
import os
import signal
from pathlib import Path

from caas.supervisor.errors import AlreadyRunning
from caas.supervisor.processes import alive, started_at, stop_group, wait_until

# A killed supervisor's keeper holds the lock until it has stopped the children.
KEEPER_S = 30.0
LEFTOVER_GRACE_S = 8.0


class Lock:
    """An exclusive lock on ``<data>/run/supervisor.lock`` that names its owner."""

    def __init__(self, data_dir: Path) -> None:
        """Take the lock, or raise AlreadyRunning when its owner is alive."""
        run = data_dir / "run"
        run.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(run / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not self._try():
            owner = self._owner()
            owner_is_gone = owner is not None and not alive(owner)
            if not owner_is_gone or not wait_until(self._try, KEEPER_S):
                os.close(self.fd)
                raise AlreadyRunning(data_dir, owner)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one in."""
        os.close(self.fd)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _owner(self) -> int | None:
        text = os.pread(self.fd, 32, 0).decode().strip()
        return int(text) if text.isdigit() else None


def note_pid(pidfile: Path, pid: int, stop_signal: signal.Signals) -> None:
    """Write down a child so that a later run can find it, and know it from another's pid."""
    note = {"pid": pid, "started": started_at(pid), "signal": int(stop_signal)}
    pidfile.write_text(json.dumps(note), encoding="utf-8")


def stop_leftovers(data_dir: Path) -> list[str]:
    """Stop children that an earlier supervisor left running; returns their names."""
    stopped: list[str] = []
    for pidfile in sorted((data_dir / "run").glob("*.pid")):
        try:
            note = json.loads(pidfile.read_text(encoding="utf-8"))
            pid, started = int(note["pid"]), str(note["started"])
            stop_signal = signal.Signals(int(note["signal"]))
        except (ValueError, KeyError, TypeError):
            pidfile.unlink()  # torn by a crash: it names nobody
            continue
        if started_at(pid) == started:
            stop_group(pid, stop_signal, LEFTOVER_GRACE_S)
            stopped.append(pidfile.stem)
        pidfile.unlink()
    return stopped
