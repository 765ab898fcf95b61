"""Whether a reported configuration proves that a car has the wanted values (S6)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.contracts.bus import ParameterSetting
from core.contracts.values import matching


class Verdict(StrEnum):
    """What a report says about wanted values."""

    PROVEN = "PROVEN"
    PARTIAL = "PARTIAL"  # some are there, others are not
    ABSENT = "ABSENT"
    STALE = "STALE"  # from before the delivery: says nothing


@dataclass(frozen=True, slots=True)
class Report:
    """A reported configuration as it came in; ``live`` = received as sent, not as retained."""

    values: Sequence[ParameterSetting]
    seq: int
    live: bool


def judge(
    wanted: Sequence[ParameterSetting],
    report: Report,
    *,
    from_seq: int | None,
    queried: bool,
) -> Verdict:
    """What ``report`` says about ``wanted`` (docs/architecture.md, "What proves a service").

    ``from_seq`` is the number of the delivery's first command (None = none is out yet);
    ``queried`` says that the report is the car's answer to this attempt's QUERY.
    """
    commanded = from_seq is not None and report.seq >= from_seq
    if not commanded and not (queried and report.live):
        return Verdict.STALE
    there = len(matching(wanted, report.values))
    if wanted and there == len(wanted):
        return Verdict.PROVEN
    return Verdict.PARTIAL if there else Verdict.ABSENT


def without(
    settings: Iterable[ParameterSetting], needed: Iterable[ParameterSetting]
) -> list[ParameterSetting]:
    """``settings`` without the parameters that ``needed`` names: those stay as they are."""
    kept = {(item.module, item.parameter) for item in needed}
    return [item for item in settings if (item.module, item.parameter) not in kept]
