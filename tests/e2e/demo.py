"""`caas demo --once` as a test runs it."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.stage import clean_environment
from tests.e2e.traces import ROOT

STORY_S = 300.0
LAST_LINES = 25
CHAPTERS = [
    "A sale",
    "The factory",
    "The handover",
    "Power +50 % for a week",
    "A service that cannot be delivered",
    "A withdrawal",
]


@dataclass(frozen=True)
class Told:
    """How the story ended."""

    code: int
    story: dict[str, Any]
    screen: str

    def check(self) -> None:
        """It was told to its end, and all of it held."""
        assert self.code == 0, self.screen
        entries = self.story["entries"]
        assert self.story["ok"] is True
        assert [e for e in entries if not e["ok"]] == []
        assert [e["text"] for e in entries if e["kind"] == "chapter"] == CHAPTERS
        assert self.story["checks"] == sum(e["kind"] == "check" for e in entries) >= 20


def tell_once(base: Path, *options: str) -> Told:
    """The story from nothing to its end, in a process of its own; its data is in base/once."""
    done = subprocess.run(
        [sys.executable, "-m", "caas", "demo", "--once", "--json", *options],
        cwd=ROOT,
        env={**clean_environment(), "CAAS_DATA_DIR": str(base)},
        capture_output=True,
        text=True,
        timeout=STORY_S,
        check=False,
    )
    story = json.loads(done.stdout) if done.stdout else {}
    screen = done.stderr
    if done.returncode != 0:
        # The folder goes with the test: what the parts said last is all there is to find out by.
        for log in sorted((base / "once" / "logs").glob("*.log")):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            screen += "\n".join(["", f"--- {log.name}", *lines[-LAST_LINES:]])
    return Told(done.returncode, story, screen)
