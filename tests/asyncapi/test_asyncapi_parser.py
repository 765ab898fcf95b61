"""The AsyncAPI initiative's own parser reads docs/asyncapi.yaml and finds nothing wrong."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.parts import require

HERE = Path(__file__).parent
DOCUMENT = Path("docs/asyncapi.yaml")
INSTALL_S = 240


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """check.mjs beside the parser it needs, as package-lock.json names it."""
    folder = tmp_path_factory.mktemp("asyncapi")
    for name in ("package.json", "package-lock.json", "check.mjs"):
        shutil.copy(HERE / name, folder)
    if (HERE / "node_modules" / "@asyncapi" / "parser").is_dir():
        (folder / "node_modules").symlink_to(HERE / "node_modules")
    else:
        # Without the packages' own install scripts: one of them only reports to its maker.
        install = [str(require("npm")), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=folder, check=True, timeout=INSTALL_S)
    return folder / "check.mjs"


def run(checker: Path, document: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(require("node")), str(checker), str(document.absolute())],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_parser_finds_nothing_wrong(checker: Path) -> None:
    ran = run(checker, DOCUMENT)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert "operations 8" in ran.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"action": "receive"', '"action": "listen"'),
        ("#/components/schemas/Answer", "#/components/schemas/Nothing"),
    ],
)
def test_the_parser_would_have_found_it(checker: Path, tmp_path: Path, old: str, new: str) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert old in text
    broken = tmp_path / "asyncapi.yaml"
    broken.write_text(text.replace(old, new), encoding="utf-8")
    ran = run(checker, broken)
    assert ran.returncode == 1, ran.stdout
    assert "error" in ran.stdout or "warning" in ran.stdout, ran.stderr
