"""The published test vectors over the vehicle in Node.js: another language, the same verdicts."""

import json
import shutil
import subprocess
from pathlib import Path

from tests.parts import require

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "vehicle-node"
VECTORS = ROOT / "docs" / "vectors"


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(require("node")), str(EXAMPLE / "vectors.mjs"), str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_example_agrees_with_every_vector() -> None:
    names = ("commands.json", "digests.json")
    count = sum(len(json.loads((VECTORS / name).read_text())["cases"]) for name in names)
    ended = run(VECTORS)
    assert (ended.stdout, ended.returncode) == (f"{count} cases, 0 failed\n", 0), ended.stderr


def test_a_wrong_verdict_is_named(tmp_path: Path) -> None:
    shutil.copy(VECTORS / "digests.json", tmp_path)
    document = json.loads((VECTORS / "commands.json").read_text())
    expired = next(case for case in document["cases"] if case["name"] == "expired")
    expired["expect"]["reason"] = "REPLAYED"
    (tmp_path / "commands.json").write_text(json.dumps(document))
    ended = run(tmp_path)
    assert ended.returncode == 1
    assert "commands.json expired: reason is EXPIRED, expected REPLAYED" in ended.stdout
