"""A state machine is a table: (state, event) to next state, and nothing that is not listed."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeVar

from core.errors import IllegalTransition

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


class Machine(Generic[S, E]):
    """A named transition table; it knows no domain and does no I/O."""

    def __init__(
        self,
        name: str,
        table: Iterable[tuple[S, E, S]],
        *,
        initial: S,
        final: Iterable[S] = (),
    ) -> None:
        rows: dict[tuple[S, E], S] = {}
        for state, event, target in table:
            if (state, event) in rows:
                raise ValueError(f"{name}: {state} lists {event} twice")
            rows[(state, event)] = target
        self.name = name
        self.initial = initial
        self.final = frozenset(final)
        self._rows = rows
        for state, event in rows:
            if state in self.final:
                raise ValueError(f"{name}: the final state {state} takes {event}")

    @property
    def table(self) -> Mapping[tuple[S, E], S]:
        """The whole table, read only."""
        return MappingProxyType(self._rows)

    def next(self, state: S, event: E) -> S:
        """The state that follows; IllegalTransition where the table lists none."""
        try:
            return self._rows[(state, event)]
        except KeyError:
            raise IllegalTransition(self.name, state.value, event.value) from None

    def allows(self, state: S, event: E) -> bool:
        """True where the table lists the transition."""
        return (state, event) in self._rows

    def sources(self, event: E) -> tuple[S, ...]:
        """Every state that takes ``event``: what a guarded UPDATE compares the row with."""
        return tuple(state for state, listed in self._rows if listed == event)
