"""The embedded PostgreSQL starts cold and warm, heals after kill -9 and keeps its data."""

import asyncio
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from caas import embedded_pg, pg_binaries, pg_place
from caas.embedded_pg import Cluster, EmbeddedPostgresError
from caas.supervisor.ports import free_port
from caas.supervisor.processes import alive, wait_until
from caas.supervisor.supervisor import Supervisor


@pytest.fixture
def base(pg_base: Path) -> Iterator[Path]:
    folder = pg_base / "own"
    folder.mkdir(mode=0o755)
    yield folder
    cluster = embedded_pg.prepare(folder, port=free_port())  # which stops what runs there
    assert not cluster.running()
    embedded_pg.erase(folder)
    folder.rmdir()


def write(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE fact AS SELECT 42 AS answer")


def read(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT answer FROM fact").fetchone()
    assert row is not None
    return int(row[0])


def kill(cluster: Cluster) -> None:
    pid = cluster.postmaster_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_cold_start_then_warm_start_with_the_data(base: Path) -> None:
    cluster = embedded_pg.prepare(base, port=free_port())
    assert not cluster.running()
    cluster.start()
    write(cluster.dsn)
    cluster.stop()
    assert not cluster.running()

    again = embedded_pg.prepare(base, port=free_port())
    again.start()
    assert read(again.dsn) == 42
    assert again.info.data_dir == cluster.info.data_dir
    assert int(again.info.version.split(".")[0]) >= pg_binaries.MIN_MAJOR


def test_it_listens_here_only_and_wants_the_password(base: Path) -> None:
    cluster = embedded_pg.prepare(base, port=free_port())
    cluster.start({"work_mem": "5MB"})
    with psycopg.connect(cluster.dsn) as connection:
        shown = [
            connection.execute("SELECT current_setting(%s)", [name]).fetchone()
            for name in ("listen_addresses", "unix_socket_directories", "work_mem", "TimeZone")
        ]
        facts = connection.execute(
            "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database"
            " WHERE datname = current_database()"
        ).fetchone()
    assert shown == [("127.0.0.1",), ("",), ("5MB",), ("UTC",)]
    assert facts == ("UTF8", "C")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(cluster.dsn, password="wrong")
    password = cluster.info.data_dir.parent / "password"
    assert stat.S_IMODE(password.stat().st_mode) == 0o600


def test_it_starts_again_right_after_kill_9(base: Path) -> None:
    cluster = embedded_pg.prepare(base, port=free_port())
    cluster.start()
    write(cluster.dsn)
    # A backend that is busy when its server dies holds the shared memory a little longer.
    busy = psycopg.connect(cluster.dsn)
    kill(cluster)
    cluster.start()
    assert read(cluster.dsn) == 42
    busy.close()


def test_a_pid_file_that_names_another_process_is_no_obstacle(base: Path) -> None:
    cluster = embedded_pg.prepare(base, port=free_port())
    cluster.start()
    write(cluster.dsn)
    kill(cluster)
    assert wait_until(lambda: not cluster.running(), 10)
    stand_in = subprocess.Popen(["sleep", "600"], **cluster.popen_kwargs())
    try:
        file = cluster.info.data_dir / "postmaster.pid"
        rest = file.read_text(encoding="utf-8").partition("\n")[2]
        file.write_text(f"{stand_in.pid}\n{rest}", encoding="utf-8")
        again = embedded_pg.prepare(base, port=free_port())
        again.start()
        assert read(again.dsn) == 42
        assert alive(stand_in.pid)
    finally:
        stand_in.kill()
        stand_in.wait()


def test_a_second_prepare_stops_a_leftover_server(base: Path) -> None:
    first = embedded_pg.prepare(base, port=free_port())
    first.start()
    pid = first.postmaster_pid()
    assert pid is not None
    embedded_pg.prepare(base, port=free_port())
    assert not alive(pid)


async def test_under_the_supervisor_it_heals_and_ends(base: Path, tmp_path: Path) -> None:
    cluster = await asyncio.to_thread(lambda: embedded_pg.prepare(base, port=free_port()))
    ready: list[str] = []
    pid = None
    async with Supervisor(
        tmp_path, on_event=lambda _, state, __: ready.append(state)
    ) as supervisor:
        await supervisor.start_all([cluster.child()])
        write(cluster.dsn)
        assert supervisor.pid("postgres") == cluster.postmaster_pid()
        kill(cluster)
        async with asyncio.timeout(30):
            while ready.count("ready") < 2:
                await asyncio.sleep(0.02)
        assert read(cluster.dsn) == 42
        pid = supervisor.pid("postgres")
    assert pid is not None
    assert not alive(pid)
    # SIGINT made it a clean shutdown: the pid file is gone.
    assert cluster.postmaster_pid() is None
    assert "database system is shut down" in (tmp_path / "logs/postgres.log").read_text()


def test_below_a_closed_home_the_data_lies_where_its_user_can_go(base: Path) -> None:
    home = base / "home"
    home.mkdir(mode=0o700)
    project = home / "project"
    project.mkdir()
    cluster = embedded_pg.prepare(project, port=free_port())
    try:
        # Only root needs another user, to whom the home is closed.
        assert cluster.info.moved == (os.geteuid() == 0)
        cluster.start()
        cluster.wait_ready()
    finally:
        cluster.stop()
        embedded_pg.erase(project)
        project.rmdir()
        home.rmdir()
    assert not cluster.info.data_dir.exists()


def test_programs_below_a_closed_home_are_copied_and_run(base: Path) -> None:
    carried = [found for found in pg_binaries.candidates() if found.trees]
    assert carried
    copied = pg_binaries.copy_to(carried[0], base / "binaries")
    assert (base / "binaries") in copied.folder.parents
    assert pg_place.runs(copied.program("initdb"), pg_place.popen_kwargs(pg_place.run_as()))
    assert pg_binaries.copy_to(carried[0], base / "binaries") == copied
    shutil.rmtree(base / "binaries")


def test_data_of_another_major_version_is_refused_in_one_line(base: Path) -> None:
    cluster = embedded_pg.prepare(base, port=free_port())
    mark = cluster.info.data_dir / "PG_VERSION"
    version = mark.read_text(encoding="ascii")
    mark.write_text("9\n", encoding="ascii")
    with pytest.raises(EmbeddedPostgresError, match=r"no PostgreSQL 9 \(the data in .*; found: "):
        embedded_pg.prepare(base, port=free_port())
    mark.write_text(version, encoding="ascii")
