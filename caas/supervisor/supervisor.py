"""Runs children in dependency order, and stops them however the supervisor itself ends."""

import asyncio
import contextlib
import signal
from collections.abc import Collection, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from types import TracebackType
from typing import Self

from caas.supervisor.child import Child, EventHandler, State
from caas.supervisor.keeper import Keeper
from caas.supervisor.lock import Lock, stop_leftovers
from caas.supervisor.runner import Runner

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """``async with Supervisor(data_dir) as s: await s.start_all(children); await s.wait()``.

    SIGINT, SIGTERM and SIGHUP end the block as if its body had ended (``stopped_by`` says which
    it was); a second one kills without waiting. Leaving the block stops everything.
    """

    def __init__(self, data_dir: Path, *, on_event: EventHandler | None = None) -> None:
        self.data_dir = data_dir
        self.stopped_by: signal.Signals | None = None
        self._on_event = on_event
        self._runners: dict[str, Runner] = {}
        self._keeping: dict[str, asyncio.Task[None]] = {}
        self._trouble: asyncio.Queue[Exception] = asyncio.Queue()
        self._hasten = asyncio.Event()
        self._stopping = False

    async def __aenter__(self) -> Self:
        """Take the folder's lock (AlreadyRunning), clear leftovers, watch for signals."""
        self._lock = await asyncio.to_thread(Lock, self.data_dir)
        try:
            for name in await asyncio.to_thread(stop_leftovers, self.data_dir):
                self._emit(name, "stopped", "left over from an earlier run")
            self._keeper = Keeper(pass_fds=(self._lock.fd,))
        except BaseException:
            self._lock.release()
            raise
        self._body = asyncio.current_task()
        self._handled = [n for n in STOP_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
        for number in self._handled:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Stop everything; swallows the cancellation that a stop signal caused."""
        try:
            await self.stop_all()
        finally:
            for number in self._handled:
                asyncio.get_running_loop().remove_signal_handler(number)
            # Should stopping have been interrupted, the keeper stops the rest.
            self._keeper.close()
            self._lock.release()
        if self.stopped_by is not None and isinstance(error, asyncio.CancelledError):
            if self._body is not None:
                self._body.uncancel()
            return True
        return False

    async def start_all(self, children: Sequence[Child]) -> None:
        """Start the children, each once what it needs is ready; StartFailed at the first failure.

        May be called again with more children; ``needs`` may name earlier ones.
        """
        new = {child.name: child for child in children}
        sorter = TopologicalSorter(self._needs_among(new))
        sorter.prepare()
        starting: dict[asyncio.Task[None], str] = {}
        try:
            while sorter.is_active():
                for name in sorter.get_ready():
                    starting[asyncio.create_task(self._start(new[name]))] = name
                done, _ = await asyncio.wait(starting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    name = starting.pop(task)
                    task.result()
                    sorter.done(name)
        finally:
            await _cancel(starting)

    async def wait(self) -> None:
        """Wait until a child is given up (raises GaveUp); a stop signal ends the block instead."""
        raise await self._trouble.get()

    async def stop_all(self) -> None:
        """Stop every child, each after those that need it."""
        self._stopping = True
        await _cancel(self._keeping.values())
        needed_by: dict[str, set[str]] = {name: set() for name in self._runners}
        for name, runner in self._runners.items():
            for need in runner.child.needs:
                needed_by[need].add(name)
        sorter = TopologicalSorter(needed_by)
        sorter.prepare()
        while sorter.is_active():
            names = sorter.get_ready()
            await asyncio.gather(*(self._runners[name].stop(self._hasten) for name in names))
            sorter.done(*names)
        self._runners.clear()
        self._keeping.clear()

    async def stop(self, name: str) -> None:
        """Stop one child for good; it may be started again with :meth:`start_all`."""
        await _cancel([self._keeping.pop(name)])
        await self._runners.pop(name).stop(self._hasten)

    def pid(self, name: str) -> int | None:
        """The process id of a child while it runs."""
        runner = self._runners.get(name)
        return runner.pid if runner else None

    @property
    def keeper_pid(self) -> int:
        """The process id of the keeper, which ends after us."""
        return self._keeper.pid

    async def _start(self, child: Child) -> None:
        runner = Runner(child, self.data_dir, self._keeper, self._emit)
        self._runners[child.name] = runner
        await runner.start()
        self._keeping[child.name] = asyncio.create_task(self._keep(runner))

    async def _keep(self, runner: Runner) -> None:
        try:
            await runner.keep()
        except Exception as error:  # whoever waits is to hear of it, a mistake of ours included
            self._trouble.put_nowait(error)

    def _needs_among(self, new: Mapping[str, Child]) -> dict[str, list[str]]:
        for child in new.values():
            if child.name in self._runners:
                raise ValueError(f"{child.name} is already started")
            unknown = [n for n in child.needs if n not in new and n not in self._runners]
            if unknown:
                raise ValueError(f"{child.name} needs {', '.join(unknown)}, which nobody starts")
        return {child.name: [n for n in child.needs if n in new] for child in new.values()}

    def _on_signal(self, number: signal.Signals) -> None:
        if self.stopped_by is not None or self._stopping:
            self._hasten.set()
        elif self._body is not None:
            self.stopped_by = number
            self._body.cancel()

    def _emit(self, name: str, state: State, detail: str) -> None:
        if self._on_event is not None:
            # A display whose terminal has gone must not keep us from stopping.
            with contextlib.suppress(OSError):
                self._on_event(name, state, detail)


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
