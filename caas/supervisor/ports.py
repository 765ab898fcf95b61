"""Free TCP ports on this machine, the same ones again at the next run where possible."""

import fcntl
import json
import os
import socket
import tempfile
from pathlib import Path

HOST = "127.0.0.1"
# Near the wished one a port is easy to recognise, and clear of the ephemeral range, out of which
# an outgoing connection of another process could take it while a service restarts.
NEARBY = 50


def is_free(port: int) -> bool:
    """Whether nothing listens on the port and it can be bound."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        if probe.connect_ex((HOST, port)) == 0:
            return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Any free port, as the system gives it out."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def choose(preferred: int, taken: frozenset[int] = frozenset()) -> int:
    """``preferred`` when it is free, else one near it, else any; never one of ``taken``."""
    for port in range(preferred, min(preferred + NEARBY, 65536)):
        if port and port not in taken and is_free(port):
            return port
    while (port := free_port()) in taken:
        pass
    return port


def reserve(port: int) -> int | None:
    """Hold ``port`` against other demos that look for one, until the descriptor is closed.

    A port is free until its program listens, which is seconds after it was chosen. None: another
    demo holds it.
    """
    folder = Path(tempfile.gettempdir()) / f"caas-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


class Ports:
    """The ports of one data folder, remembered in ``<data>/ports.json``.

    They stay reserved as long as the process lives or until :meth:`release`.
    """

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / "ports.json"
        self._remembered = _read(self._file)
        self.chosen: dict[str, int] = {}
        self._reserved: list[int] = []

    def choose(self, name: str, preferred: int) -> int:
        """The port for ``name``: last time's for the same wish, else ``preferred``, else any."""
        wish, last = self._remembered.get(name, (preferred, preferred))
        taken = set(self.chosen.values())
        port = last if wish == preferred and last not in taken and is_free(last) else None
        while port is None or not self._reserve(port):
            if port is not None:
                taken.add(port)
            port = choose(preferred, frozenset(taken))
        self.chosen[name] = port
        self._remembered[name] = (preferred, port)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self._remembered, indent=1), encoding="utf-8")
        return port

    def release(self) -> None:
        """Let other demos have the ports."""
        for fd in self._reserved:
            os.close(fd)
        self._reserved.clear()

    def _reserve(self, port: int) -> bool:
        fd = reserve(port)
        if fd is not None:
            self._reserved.append(fd)
        return fd is not None


def _read(file: Path) -> dict[str, tuple[int, int]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): (int(wish), int(port)) for name, (wish, port) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # none yet, or torn by a crash: choose anew
