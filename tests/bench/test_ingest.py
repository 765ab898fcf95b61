"""`caas bench ingest`, tiny: everything sent is stored, and the object has the promised members."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from caas.cli import app

MEMBERS = {
    "name", "rate", "unit", "seconds", "p50_ms", "p95_ms", "p99_ms", "ceilings", "ratios", "sent",
    "stored", "lost", "duplicated", "cpu_s", "peak_rss_mib",
}  # fmt: skip


def test_a_bench_without_a_name_lists_what_there_is() -> None:
    shown = CliRunner().invoke(app, ["bench"])
    assert shown.exit_code == 0
    assert shown.output.startswith("ingest ")


def test_ingest_stores_all_it_sends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAAS_DATA_DIR", str(tmp_path))
    sizes = ["--vehicles", "2", "--messages", "5", "--samples", "3", "--rounds", "2"]
    shown = CliRunner().invoke(app, ["bench", "ingest", "--json", *sizes])
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout.splitlines()[-1])  # after what is logged
    assert set(found) == MEMBERS
    assert (found["sent"], found["stored"], found["lost"], found["duplicated"]) == (60, 60, 0, 0)
    assert set(found["ceilings"]) == set(found["ratios"]) == {"bare_consumer", "bare_copy"}
    assert found["rate"] > 0
    assert not (tmp_path / "bench").exists()
