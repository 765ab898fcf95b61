"""Programs of the machine that tests need: found, or the test says that it cannot run."""

import os
import shutil
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("parts.txt")
# Debian keeps servers where an ordinary user's PATH does not look.
ALSO = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")


def require(name: str, parts: Path = LIST) -> Path:
    """The program of a part in ``parts.txt``. Without it the test is skipped, or fails in CI."""
    package, *programs = _read(parts)[name]
    path = os.pathsep.join((os.environ.get("PATH", ""), *ALSO))
    for program in programs:
        found = shutil.which(program, path=path)
        if found:
            return Path(found)
    reason = f"needs {name} (Debian: apt-get install {package})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _read(parts: Path) -> dict[str, list[str]]:
    lines = (line.split() for line in parts.read_text(encoding="utf-8").splitlines())
    return {words[0]: words[1:] for words in lines if words and words[0] != "#"}
