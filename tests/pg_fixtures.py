"""Fixtures of a real PostgreSQL: one server a session, one migrated template, a copy a test.

Everything is on a free port and in a folder of its own, so several checkouts can test at once.
"""

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from caas import embedded_pg
from caas.embedded_pg import Cluster
from caas.supervisor.keeper import Keeper
from caas.supervisor.ports import free_port
from caas.supervisor.processes import wait_until
from core.db.migrate import migrate

MIGRATIONS = Path(__file__).parents[1] / "migrations"
# A test database survives nothing, so it need not write anything to the disk in time.
UNSAFE_AND_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "4GB",
    "max_connections": "300",
}
TEMPLATE = "caas_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def pg_base() -> Iterator[Path]:
    """A folder that the user who runs PostgreSQL may pass through (pytest's own are closed)."""
    base = Path(tempfile.mkdtemp(prefix="caas-test-"))
    base.chmod(0o711)
    yield base
    embedded_pg.erase(base)
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def pg_cluster(pg_base: Path) -> Iterator[Cluster]:
    """A running server, as superuser ``caas``; it ends with the test run, however that ends."""
    cluster = embedded_pg.prepare(pg_base, port=free_port())
    log = pg_base / "server.log"
    keeper = Keeper()
    with log.open("wb") as output:
        server = subprocess.Popen(
            cluster.argv(UNSAFE_AND_FAST),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **cluster.popen_kwargs(),
        )
    keeper.watch(server.pid, signal.SIGINT)
    try:
        wait_until(lambda: _connects(cluster.dsn) or server.poll() is not None, 60)
        assert server.poll() is None, log.read_text(encoding="utf-8")
        cluster.wait_ready()
        yield cluster
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGINT)
        server.wait(timeout=60)
        keeper.forget(server.pid)
        keeper.close()


@pytest.fixture(scope="session")
def pg_template(pg_cluster: Cluster) -> str:
    """The name of a database with every migration done, to be copied."""
    _admin(pg_cluster, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    dsn = dsn_of(pg_cluster, TEMPLATE)
    # A thread of its own: this one may have an event loop of pytest-asyncio's.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(migrate(dsn, MIGRATIONS))).result()
    return TEMPLATE


@pytest.fixture
def database(pg_cluster: Cluster, pg_template: str) -> Iterator[str]:
    """The connection string of a fresh, migrated database, dropped after the test."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _admin(
        pg_cluster,
        sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
            sql.Identifier(name), sql.Identifier(pg_template)
        ),
    )
    yield dsn_of(pg_cluster, name)
    _admin(pg_cluster, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def dsn_of(cluster: Cluster, database: str) -> str:
    """The superuser's connection string to another database of the cluster."""
    return cluster.dsn.rpartition("/")[0] + f"/{database}"


def _admin(cluster: Cluster, statement: sql.Composed) -> None:
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        connection.execute(statement)


def _connects(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
