"""Follows a file that another process appends to, and empties it so that it cannot fill a disk."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from io import FileIO
from pathlib import Path

READ_BYTES = 1 << 20


async def follow(
    path: Path, stop: asyncio.Event, *, every_s: float, keep_bytes: int
) -> AsyncGenerator[bytes]:
    """What is in the file and what comes, until ``stop``; then the file is empty.

    Everything that is in it when we begin is read: it was written while nobody read. The writer
    must append (O_APPEND). It is never held up, and what it writes in the moment between the last
    look and the emptying is lost. OSError where the file is not ours to write.
    """
    while not stop.is_set():
        try:
            file = path.open("r+b", buffering=0)
        except FileNotFoundError:
            await _pause(stop, every_s)
            continue
        with file:
            async for data in _follow_one(file, path, stop, every_s, keep_bytes):
                yield data


async def _follow_one(
    file: FileIO, path: Path, stop: asyncio.Event, every_s: float, keep_bytes: int
) -> AsyncGenerator[bytes]:
    """Until ``stop``, or until another file has its name."""
    while True:
        if data := file.read(READ_BYTES):
            yield data
        elif stop.is_set():
            file.truncate(0)
            return
        elif _replaced(file.fileno(), path):
            return
        else:
            if file.tell() >= keep_bytes:
                file.truncate(0)
            if os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)
            await _pause(stop, every_s)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _replaced(descriptor: int, path: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return True
