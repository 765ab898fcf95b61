"""What happened and which checks held, for a person and for a machine."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any


class CheckFailed(Exception):
    """A check of the story did not hold; the message says which and what was seen."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline: seconds since the story began, and what was seen."""

    at_s: float
    kind: str  # chapter, step or check
    text: str
    ok: bool = True


@dataclass
class Timeline:
    """Collects entries and hands each on as it comes."""

    on_entry: Callable[[Entry], None] = lambda _entry: None
    entries: list[Entry] = field(default_factory=list[Entry])
    _start: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """The story's clock starts now."""
        self._start = time.monotonic()

    def chapter(self, text: str) -> None:
        """A new part of the story begins."""
        self._add("chapter", text)

    def step(self, text: str) -> None:
        """Something was done or came about."""
        self._add("step", text)

    def check(self, holds: bool, text: str, seen: object = "") -> None:
        """A claim that must hold; CheckFailed with what was seen where it does not."""
        if holds:
            self._add("check", text)
            return
        said = f"{text}: seen {seen!r}" if seen != "" else text
        self._add("check", said, ok=False)
        raise CheckFailed(said)

    def fail(self, text: str) -> None:
        """The story could not go on."""
        self._add("check", text, ok=False)

    @property
    def ok(self) -> bool:
        """True while every check so far held."""
        return all(entry.ok for entry in self.entries)

    @property
    def checks(self) -> int:
        """How many checks were made."""
        return sum(entry.kind == "check" for entry in self.entries)

    @property
    def seconds(self) -> float:
        """How long the story has run."""
        return time.monotonic() - self._start

    def as_dict(self) -> dict[str, Any]:
        """The whole timeline as JSON takes it."""
        return {
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "checks": self.checks,
            "entries": [asdict(entry) for entry in self.entries],
        }

    def _add(self, kind: str, text: str, *, ok: bool = True) -> None:
        entry = Entry(round(self.seconds, 3), kind, text, ok)
        self.entries.append(entry)
        self.on_entry(entry)
