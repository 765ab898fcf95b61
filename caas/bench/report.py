"""What a benchmark says: one JSON object for machines, the same as a table for a person."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Result:
    """One run; None where a member has no meaning. Rates are medians over the rounds."""

    name: str
    rate: float
    unit: str
    seconds: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    ceilings: Mapping[str, float]
    sent: int
    stored: int
    lost: int
    duplicated: int
    cpu_s: float | None
    peak_rss_mib: float | None
    # What one benchmark has beside the common members, such as the latencies of its steps.
    more: Mapping[str, float | None] = field(default_factory=dict[str, float | None])

    def as_dict(self) -> dict[str, object]:
        """With the ratios to the ceilings."""
        ratios = {name: round(self.rate / limit, 3) for name, limit in self.ceilings.items()}
        members = asdict(self)
        del members["more"]
        return {**members, "ratios": ratios, **self.more}


def rate_of(rates: Sequence[float]) -> float:
    """The rate of several rounds: their median, so that one disturbed round does not count."""
    return round(median(rates), 1)


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile; None of nothing."""
    if not values:
        return None
    ranked = sorted(values)
    return round(ranked[min(len(ranked) - 1, int(share * len(ranked)))], 1)


def show(result: Result, *, as_json: bool) -> None:
    """Print it on standard output."""
    if as_json:
        sys.stdout.write(json.dumps(result.as_dict()) + "\n")
        return
    table = Table(title=f"caas bench {result.name}", title_justify="left", box=None)
    table.add_column("measured")
    table.add_column("value", justify="right")
    plain = {name: value for name, value in result.as_dict().items() if name != "ceilings"}
    ratios = plain.pop("ratios")
    for name, value in plain.items():
        table.add_row(name, "-" if value is None else str(value))
    for name, limit in result.ceilings.items():
        table.add_row(f"ceiling: {name}", str(limit))
    table.add_row("share of the ceilings", str(ratios))
    Console(highlight=False).print(table)
