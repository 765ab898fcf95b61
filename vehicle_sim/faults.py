"""Faults of one vehicle, switched on by hand or by a test: a list of small, countable defects."""

from collections.abc import Sequence
from enum import StrEnum
from random import Random
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.contracts.bus import CommandKind, Reason


class FaultKind(StrEnum):
    REFUSE = "REFUSE"  # answers REJECTED with ``reason``, changes nothing
    IGNORE = "IGNORE"  # takes the command from the bus and does nothing, as if it never came
    FALSE_APPLIED = "FALSE_APPLIED"  # answers APPLIED, changes nothing, reports nothing
    SILENT_APPLY = "SILENT_APPLY"  # applies; neither answer nor configuration until asked
    NO_ANSWER = "NO_ANSWER"  # applies and reports the configuration, but does not answer
    PARTIAL = "PARTIAL"  # applies all values but the last, answers APPLIED
    DELAY = "DELAY"  # ``seconds`` pass between applying and answering
    OFFLINE = "OFFLINE"  # loses the network for ``seconds`` before it can handle the command
    REBOOT = "REBOOT"  # restarts half-way through applying; the command comes again
    CLOCK_SKEW = "CLOCK_SKEW"  # the unit's clock is ``seconds`` ahead (negative: behind)


ALL_KINDS = frozenset(CommandKind)


class Fault(BaseModel):
    """One defect. ``times`` null = for ever; ``on`` says which commands it hits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: FaultKind
    times: Annotated[int, Field(ge=1)] | None = None
    on: frozenset[CommandKind] = frozenset({CommandKind.CONFIGURE})
    probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    reason: Reason | None = None
    seconds: float | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if (self.kind is FaultKind.REFUSE) != (self.reason is not None):
            raise ValueError("reason belongs to REFUSE, and REFUSE needs one")
        timed = self.kind in (FaultKind.DELAY, FaultKind.OFFLINE, FaultKind.CLOCK_SKEW)
        if timed != (self.seconds is not None):
            raise ValueError("seconds belong to DELAY, OFFLINE and CLOCK_SKEW, which need them")
        if self.seconds is not None and self.seconds < 0 and self.kind is not FaultKind.CLOCK_SKEW:
            raise ValueError("seconds must not be negative")
        return self


class FaultSet:
    """The faults a vehicle has now; each hit uses one of its ``times`` up."""

    def __init__(self, faults: Sequence[Fault] = (), rng: Random | None = None) -> None:
        self._rng = rng or Random(0)  # noqa: S311 - a dice for defects, not a secret
        self._left: list[tuple[Fault, int | None]] = [(fault, fault.times) for fault in faults]

    def __bool__(self) -> bool:
        return bool(self._left)

    @property
    def clock_skew_s(self) -> float:
        return sum(f.seconds or 0.0 for f, _ in self._left if f.kind is FaultKind.CLOCK_SKEW)

    def take(self, command: CommandKind) -> dict[FaultKind, Fault]:
        """The faults that hit this command; each kind at most once."""
        hit: dict[FaultKind, Fault] = {}
        kept: list[tuple[Fault, int | None]] = []
        for fault, left in self._left:
            strikes = (
                fault.kind is not FaultKind.CLOCK_SKEW
                and command in fault.on
                and fault.kind not in hit
                and (fault.probability >= 1 or self._rng.random() < fault.probability)
            )
            if strikes:
                hit[fault.kind] = fault
            remaining = left - 1 if strikes and left is not None else left
            if remaining is None or remaining > 0:
                kept.append((fault, remaining))
        self._left = kept
        return hit

    def describe(self) -> list[dict[str, object]]:
        """What is left, as the control API shows it."""
        return [
            {**fault.model_dump(mode="json", exclude_none=True), "times": left}
            for fault, left in self._left
        ]
