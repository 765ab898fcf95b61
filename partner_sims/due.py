"""Timers that survive a restart: what a partner does later stands in the store with its time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import core.log
from core.clock import Clock
from partner_sims.store import Store

log = core.log.get(__name__)

Handler = Callable[[str], None]
_RETRY_AFTER_S = 5.0
_LONGEST_SLEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class DueItem:
    """One thing to do: ``kind`` names the handler, ``key`` what it is about."""

    kind: str
    key: str
    due_at: float


class DueWork:
    """Runs each item's handler in the transaction that removes the item: exactly once."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._handlers: dict[str, Handler] = {}
        self._woken = asyncio.Event()

    def on(self, kind: str, handler: Handler) -> None:
        """Name the handler of ``kind``. It runs inside a transaction and must not await."""
        self._handlers[kind] = handler

    def after(self, delay_s: float, kind: str, key: str) -> None:
        """Have ``kind`` done for ``key`` in ``delay_s`` s, inside the caller's transaction."""
        self._store.run("due_put", kind=kind, key=key, due_at=self._now() + delay_s)
        self._woken.set()

    def forget(self) -> int:
        """Drop everything that is to come, inside the caller's transaction; the number."""
        return self._store.run("due_forget")

    def run_due(self) -> int:
        """Do everything whose time has come; the number of items taken."""
        items = self._store.all(DueItem, "due_list", now=self._now())
        for item in items:
            self._run_one(item)
        return len(items)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._woken.clear()
            self.run_due()
            try:
                await asyncio.wait_for(self._woken.wait(), self._sleep_s())
            except TimeoutError:
                continue

    def _run_one(self, item: DueItem) -> None:
        try:
            with self._store.transaction():
                self._store.run("due_delete", kind=item.kind, key=item.key)
                self._handlers[item.kind](item.key)
        except Exception:
            # One bad item must not stop the others; it stays and is tried again.
            log.exception("due work failed", kind=item.kind, key=item.key)
            with self._store.transaction():
                self.after(_RETRY_AFTER_S, item.kind, item.key)

    def _sleep_s(self) -> float:
        first = self._store.one(DueItem, "due_first")
        if first is None:
            return _LONGEST_SLEEP_S
        # Never zero: a handler that puts itself back at once must not starve the servers.
        return min(max(first.due_at - self._now(), 0.01), _LONGEST_SLEEP_S)

    def _now(self) -> float:
        return self._clock.now().timestamp()
