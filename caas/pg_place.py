"""Where the embedded PostgreSQL's files lie, and as which user it runs."""

import contextlib
import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# PostgreSQL refuses root. The first of these that the machine has runs it then.
STAND_INS = ("postgres", "_postgres", "nobody")


@dataclass(frozen=True)
class RunAs:
    """A user other than ours."""

    name: str
    uid: int
    gid: int

    def popen_kwargs(self) -> dict[str, Any]:
        """Arguments that make ``subprocess`` run a program as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def run_as() -> RunAs | None:
    """The user for PostgreSQL; None = ourselves, who are not root."""
    if os.geteuid() != 0:
        return None
    for name in STAND_INS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return RunAs(name, entry.pw_uid, entry.pw_gid)
    raise RuntimeError("PostgreSQL does not run as root, and this machine has no user 'nobody'")


def popen_kwargs(who: RunAs | None) -> dict[str, Any]:
    """Arguments for ``subprocess``: the user, and an environment that changes no setting."""
    # PGDATA, PGPORT, PGHOST and their like would reach initdb, pg_ctl and postgres.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
    env |= {"LC_ALL": "C", "TZ": "UTC"}
    if who is None:
        return {"env": env}
    return {"env": env | {"HOME": "/", "USER": who.name}, **who.popen_kwargs()}


def runs(program: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether the user can run a program, found out by running it."""
    try:
        code = subprocess.call(
            [program, "--version"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **kwargs,
        )
    except OSError:
        return False
    return code == 0


def place(base_dir: Path, who: RunAs | None) -> Path:
    """The folder for everything of the cluster of ``base_dir``, made if need be.

    ``base_dir/postgres``; or where its user may not pass there (a project below a closed home),
    a folder of the machine that stands for ``base_dir``.
    """
    home = base_dir.resolve() / "postgres"
    _make(home, who)
    if who is None or _can_enter(home, who):
        return home
    home.rmdir()
    elsewhere = _elsewhere(base_dir)
    _make(elsewhere.parent, who)
    _make(elsewhere, who)
    if elsewhere.stat().st_uid != os.geteuid():
        raise RuntimeError(f"{elsewhere} belongs to another user: remove it")
    if not _can_enter(elsewhere, who):
        raise RuntimeError(f"user {who.name} can enter neither {home} nor {elsewhere}")
    return elsewhere


def places(base_dir: Path) -> list[Path]:
    """Every folder that may hold the cluster of ``base_dir``, to erase it."""
    return [base_dir.resolve() / "postgres", _elsewhere(base_dir)]


def give(path: Path, who: RunAs | None) -> None:
    """Make the user the owner of a file or folder."""
    if who is not None:
        os.chown(path, who.uid, who.gid)


def erase(base_dir: Path) -> None:
    """Remove the cluster of ``base_dir``, wherever it lies; it must be stopped."""
    for folder in places(base_dir):
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        _elsewhere(base_dir).parent.rmdir()  # other projects' data may lie there


def _elsewhere(base_dir: Path) -> Path:
    mark = hashlib.sha256(str(base_dir.resolve()).encode()).hexdigest()[:12]
    state = Path("/var/lib")
    if state.is_dir() and os.access(state, os.W_OK):
        return state / "caas" / mark
    return Path("/var/tmp") / f"caas-{mark}" / "postgres"  # noqa: S108 - its owner is checked


def _make(folder: Path, who: RunAs | None) -> None:
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if not existed:
        # Passed through by the stand-in user, listed by nobody.
        folder.chmod(0o700 if who is None else 0o711)


def _can_enter(folder: Path, who: RunAs) -> bool:
    code = subprocess.call(
        ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **who.popen_kwargs(),
    )
    return code == 0
