"""Tells a broker that cannot be told of single accounts to read its password file again."""

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
    path: Path,
    get_pid: Callable[[], int | None],
    *,
    number: signal.Signals = signal.SIGHUP,
    every_s: float = 0.5,
    quiet_s: float = 0.0,
) -> None:
    """Signal ``get_pid()`` with ``number`` when ``path`` changed and then rested for ``quiet_s``.

    SIGHUP is for a broker that takes it (``BrokerPlan.reload_on``); SIGTERM ends one that its
    supervisor starts anew. None as pid = not running at the moment; it reads the file when it
    starts. One start of the process may get one needless signal, never a missing one. Runs until
    cancelled.
    """
    told = fingerprint(path)
    latest, left_alone_s = told, 0.0
    while True:
        await asyncio.sleep(every_s)
        now = fingerprint(path)
        left_alone_s = left_alone_s + every_s if now == latest else 0.0
        latest = now
        if now in (told, None) or left_alone_s < quiet_s:
            continue
        told = now
        pid = get_pid()
        if pid is None:
            continue
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        log.info("broker_passwords_reloaded", path=str(path), signal=number.name)
