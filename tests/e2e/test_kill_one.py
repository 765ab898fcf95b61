"""Issue 2: kill -9 of any part in the story lets it end well: nothing lost, nothing paid twice."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from caas.demo.platform import SERVICE_ORDER
from tests.e2e.demo import Told, tell_once
from tests.e2e.traces import ROOT, assert_nothing_left
from tests.parts import require

pytestmark = pytest.mark.e2e

PARTS = (*SERVICE_ORDER, "broker", "postgres")
# The story's turns at which the part is killed: an idle restart may swallow one or two.
MIN_KILLS = 5
REPORT = ROOT / "docs" / "proof" / "kill-one.md"


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    part: str
    seconds: float
    kills: int
    checks: int
    result: str


@pytest.fixture(scope="module")
def report() -> Iterator[list[Row]]:
    """Collects the proof's outcomes; a whole run is written down where `make proof` asks for it."""
    rows: list[Row] = []
    yield rows
    if len(rows) == len(PARTS) and os.environ.get("PROOF_REPORTS"):
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        REPORT.write_text(render(rows, datetime.now(UTC)), encoding="utf-8")


def test_the_engine_killed_at_every_turn(base: Path) -> None:
    require("mosquitto")
    told = tell_once(base, "--kill", "ota-engine")
    told.check()
    assert kills(told, "ota-engine") >= MIN_KILLS
    assert_nothing_left(base / "once")


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", PARTS)
def test_any_part_killed_at_every_turn(base: Path, part: str, report: list[Row]) -> None:
    require("mosquitto")
    began = time.monotonic()
    told = tell_once(base, "--kill", part)
    seconds = time.monotonic() - began
    struck = kills(told, part)
    row = Row(
        part, seconds, struck, told.story.get("checks", 0), "held" if told.code == 0 else "FAILED"
    )
    report.append(row)
    told.check()
    assert struck >= MIN_KILLS
    assert_nothing_left(base / "once")


def kills(told: Told, part: str) -> int:
    """How often the part was really killed."""
    entries = told.story.get("entries", [])
    return sum(entry["text"].startswith(f"kill -9 of {part} ") for entry in entries)


def render(rows: list[Row], at: datetime) -> str:
    """The report."""
    lines = [
        "# One part killed at every turn of the story",
        "",
        "Each row is one run of `caas demo --once --kill PART` from an empty folder: the part",
        "gets SIGKILL at every turn of the story, the supervisor starts it again, and every check",
        "of the story must hold all the same: nothing lost, nothing charged twice. Seconds are",
        "those of the whole run with start and stop. Written by `make proof`.",
        "",
        f"Run of {at:%Y-%m-%d %H:%M} UTC.",
        "",
        "| Part | Kills | Checks | Seconds | Result |",
        "|-|-|-|-|-|",
    ]
    lines += [
        f"| {row.part} | {row.kills} | {row.checks} | {row.seconds:.0f} | {row.result} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"
