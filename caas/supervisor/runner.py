"""The life of one child: start until ready, restart after a crash, stop for good."""

import asyncio
import os
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from caas.supervisor.child import Child, ChildLog, EventHandler, describe_exit
from caas.supervisor.errors import GaveUp, StartFailed
from caas.supervisor.keeper import Keeper
from caas.supervisor.lock import note_pid
from caas.supervisor.processes import signal_group

READY_POLL_S = 0.05
# A child that lived this long was well: its next death is the first of a new row.
HEALTHY_S = 10.0
KILL_DEADLINE_S = 5.0


def backoff_s(quick_deaths: int) -> float:
    """Seconds to wait before the next start, after that many quick deaths in a row."""
    return min(0.1 * 2 ** (quick_deaths - 1), 2.0)


class Runner:
    """Runs one child under a keeper, with its log and pid file in the data folder."""

    def __init__(self, child: Child, data_dir: Path, keeper: Keeper, emit: EventHandler) -> None:
        self.child = child
        self.log = ChildLog(data_dir / "logs" / f"{child.name}.log")
        self._pidfile = data_dir / "run" / f"{child.name}.pid"
        self._keeper = keeper
        self._emit = emit
        self._process: asyncio.subprocess.Process | None = None
        self._born = 0.0

    @property
    def pid(self) -> int | None:
        """The process id while the child runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def start(self) -> None:
        """Start the child and wait until it is ready; StartFailed with its last words if not."""
        name = self.child.name
        self._emit(name, "starting", "")
        trouble = await self._launch()
        for attempt in range(1, self.child.start_retries + 1):
            if trouble is None:
                break
            await asyncio.sleep(backoff_s(attempt))
            trouble = await self._launch()
        if trouble is None:
            self._emit(name, "ready", "")
            return
        error = StartFailed(name, trouble, self.log.last_lines(), self.log.path)
        self._emit(name, "failed", str(error))
        raise error

    async def keep(self) -> None:
        """Wait for the child's death and start it again, for ever; GaveUp when it keeps dying.

        Returns when a child that is not to be restarted ends.
        """
        name = self.child.name
        quick = 0
        what = await self._death()
        while self.child.restart:
            quick = 1 if time.monotonic() - self._born >= HEALTHY_S else quick + 1
            if quick > self.child.max_quick_deaths:
                error = GaveUp(name, quick, what, self.log.last_lines(), self.log.path)
                self._emit(name, "failed", str(error))
                raise error
            self._emit(name, "restarting", what)
            await asyncio.sleep(backoff_s(quick))
            trouble = await self._launch()
            if trouble is None:
                self._emit(name, "ready", "")
                what = await self._death()
            else:
                what = trouble
        self._emit(name, "stopped" if what == describe_exit(0) else "failed", what)

    async def stop(self, hasten: asyncio.Event) -> None:
        """Ask the child to stop, wait its deadline or until hastened, then kill its group."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            signal_group(process.pid, self.child.stop_signal)
            await _first(process.wait(), hasten.wait(), timeout_s=self.child.stop_deadline_s)
        await self._bury(process)
        self._emit(self.child.name, "stopped", describe_exit(process.returncode or 0))

    async def _launch(self) -> str | None:
        """Start once and wait for readiness; None = ready, else what went wrong in words."""
        self._born = time.monotonic()
        kwargs: dict[str, Any] = {"env": self.child.env, "cwd": self.child.cwd}
        kwargs |= self.child.popen_kwargs
        fd = self.log.open()
        try:
            process = await asyncio.create_subprocess_exec(
                *self.child.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=fd,
                stderr=fd,
                start_new_session=True,
                **kwargs,
            )
        except OSError as error:
            return f"cannot run {self.child.argv[0]}: {error.strerror}"
        finally:
            os.close(fd)
        self._process = process
        self._keeper.watch(process.pid, self.child.stop_signal)
        note_pid(self._pidfile, process.pid, self.child.stop_signal)
        trouble = await self._until_ready(process)
        if trouble is not None:
            await self._bury(process)
        return trouble

    async def _until_ready(self, process: asyncio.subprocess.Process) -> str | None:
        exited = asyncio.ensure_future(process.wait())
        polled = asyncio.ensure_future(self._poll())
        try:
            await asyncio.wait(
                {exited, polled},
                timeout=self.child.start_deadline_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if exited.done():
                return describe_exit(exited.result())
            if polled.done():
                polled.result()
                return None
            return f"not ready after {self.child.start_deadline_s:g} s"
        finally:
            exited.cancel()
            polled.cancel()

    async def _poll(self) -> None:
        if self.child.ready is None:
            return
        while True:
            # No event tells when another process is ready: ask again and again.
            if await self.child.ready():
                return
            await asyncio.sleep(READY_POLL_S)

    async def _death(self) -> str:
        assert self._process is not None
        process = self._process
        code = await process.wait()
        await self._bury(process)
        return describe_exit(code)

    async def _bury(self, process: asyncio.subprocess.Process) -> None:
        """Kill what is left of the group, reap the leader, forget its number."""
        signal_group(process.pid, signal.SIGKILL)
        await asyncio.wait_for(process.wait(), KILL_DEADLINE_S)
        self._keeper.forget(process.pid)
        self._pidfile.unlink(missing_ok=True)
        if self._process is process:
            self._process = None


async def _first(*waits: Coroutine[Any, Any, object], timeout_s: float) -> None:
    """Wait until one is done or the time is over, and drop the rest."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
