"""A test says which program it needs, and CI does not pass without it."""

import subprocess
from pathlib import Path

import pytest

from tests import parts

ROOT = Path(__file__).parents[2]
TARGETS = {"setup", "demo", "demo-once", "demo-reset", "check", "test", "proof", "bench"}


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    file = tmp_path / "parts.txt"
    file.write_text(
        "# name package programs\nshell dash no-such-shell sh\nghost ghost-utils ghost\n"
    )
    return file


def test_any_program_of_a_part_will_do(listed: Path) -> None:
    assert parts.require("shell", listed).name == "sh"


def test_without_it_a_test_is_skipped_here(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install ghost-utils"):
        parts.require("ghost", listed)


def test_and_fails_in_ci(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install ghost-utils"):
        parts.require("ghost", listed)


def test_make_alone_shows_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in shown.splitlines()} >= TARGETS
