"""A program on a terminal of its own, read and typed at as by a person."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.stage import clean_environment
from tests.e2e.traces import ROOT

ROWS, COLUMNS = 60, 220
CTRL_C = b"\x03"
# What moves the cursor or paints, and the frames of tables.
_PAINT = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[│╭╮╰╯─]|\r")
# Makes the terminal the controlling one, so that Ctrl-C is a signal, and becomes the program.
_ON_TERMINAL = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)


class Terminal:
    """The far end of a program's terminal."""

    def __init__(self, process: subprocess.Popen[bytes], far_end: int) -> None:
        self.process = process
        self._far_end = far_end
        self._seen = b""

    @property
    def text(self) -> str:
        """All it has shown so far, without colours and frames."""
        return _PAINT.sub("", self._seen.decode(errors="replace"))

    def wait_for(self, holds: Callable[[str], bool], what: str, within_s: float) -> str:
        """Read on until the text is as wanted; it."""
        deadline = time.monotonic() + within_s
        while not holds(self.text):
            assert time.monotonic() < deadline, f"never showed {what}: {self.text[-3000:]}"
            assert self._read() or holds(self.text), f"ended without {what}: {self.text[-3000:]}"
        return self.text

    def press(self, keys: bytes) -> None:
        os.write(self._far_end, keys)

    def end(self, within_s: float) -> int:
        """Read on until the program has ended; its exit code."""
        deadline = time.monotonic() + within_s
        while self._read():
            assert time.monotonic() < deadline, f"has not ended: {self.text[-3000:]}"
        return self.process.wait(within_s)

    def _read(self) -> bool:
        """Take what there is; False at the end."""
        ready, _, _ = select.select([self._far_end], [], [], 0.2)
        if not ready:
            return True
        try:
            more = os.read(self._far_end, 65536)
        except OSError:  # Linux's way of saying that nobody holds the terminal any more
            return False
        self._seen += more
        return bool(more)


@contextmanager
def caas_on_terminal(base: Path, arguments: Sequence[str], **env: str) -> Generator[Terminal]:
    """``caas`` with its data in ``base``; killed at the end if it still runs."""
    far_end, near_end = pty.openpty()
    fcntl.ioctl(near_end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    program = [sys.executable, "-c", _ON_TERMINAL, sys.executable, "-m", "caas", *arguments]
    process = subprocess.Popen(
        program,
        stdin=near_end,
        stdout=near_end,
        stderr=near_end,
        start_new_session=True,
        cwd=ROOT,
        env={**clean_environment(), "CAAS_DATA_DIR": str(base), "TERM": "xterm-256color", **env},
    )
    os.close(near_end)
    try:
        yield Terminal(process, far_end)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(far_end)
