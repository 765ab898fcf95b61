"""Tells a broker to read its password file again when it changed."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import core.log

log = core.log.get(__name__)

Fingerprint = tuple[int, int, int]


def fingerprint(path: Path) -> Fingerprint | None:
    """Changes whenever the file's content is replaced; None when there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)


async def reload_on_change(
    path: Path, get_pid: Callable[[], int | None], *, every_s: float = 0.5
) -> None:
    """Send SIGHUP to ``get_pid()`` each time ``path`` changed; runs until cancelled.

    None as pid = not running at the moment; it reads the file when it starts. One start of the
    process may get one needless SIGHUP, never a missing one.
    """
    seen = fingerprint(path)
    while True:
        await asyncio.sleep(every_s)
        now = fingerprint(path)
        if now == seen or now is None:
            continue
        seen = now
        pid = get_pid()
        if pid is None:
            continue
        try:
            os.kill(pid, signal.SIGHUP)
        except ProcessLookupError:
            continue
        log.debug("broker_passwords_reloaded", path=str(path))
