"""`caas bench bus`, tiny: every command is stored, answered and shown, and the object is whole."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from caas.cli import app
from tests.bench.test_ingest import MEMBERS

MORE = {"latencies_at_per_s", "accepted_p50_ms", "accepted_p95_ms", "accepted_p99_ms"}


def test_every_command_is_answered_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAAS_DATA_DIR", str(tmp_path))
    sizes = ["--vehicles", "5", "--messages", "3", "--rounds", "2"]
    shown = CliRunner().invoke(app, ["bench", "bus", "--json", *sizes])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout.splitlines()[-1])  # after what is logged
    assert set(found) == MEMBERS | MORE
    # A round: one to warm up, three at full speed and one paced, to each of five vehicles.
    assert (found["sent"], found["stored"], found["lost"], found["duplicated"]) == (50, 50, 0, 0)
    assert set(found["ceilings"]) == set(found["ratios"]) == {"bare_clients", "same_vehicles"}
    assert min(found["rate"], *found["ceilings"].values()) > 0
    assert found["accepted_p50_ms"] <= found["p99_ms"]
    assert not (tmp_path / "bench").exists()
