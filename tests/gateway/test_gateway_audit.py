"""The command log: its quota over all doors, and the proof that it is whole."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import errors
from typer.testing import CliRunner

from caas.cli import app
from caas.embedded_pg import Cluster
from core.clock import ManualClock
from core.db import Database
from core.db.migrate import migrate
from core.errors import DomainError
from core.ids import new_id
from core.settings import DatabaseSettings, load
from gateway import registry
from gateway.commands import audit
from tests.gateway.conftest import OTHER_VIN, VIN
from tests.pg_fixtures import MIGRATIONS, dsn_of

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
CLOCK = ManualClock(NOW)


async def admit(
    room: Database,
    vin: str = VIN,
    *,
    kind: str = "CONFIGURE",
    source: str = "ota",
    at: datetime = NOW,
    quota: int = 1000,
    command_id: UUID | None = None,
) -> tuple[str, int | None, int | None]:
    async with room.transaction() as conn:
        (row,) = await conn.dicts(
            "SELECT * FROM gateway.admit_command_v1(%(id)s, %(vin)s, %(kind)s, %(source)s,"
            " 'PERF_BOOST_50', '{\"text\": \"Año 50 %%\"}', %(at)s, %(quota)s)",
            {
                "id": command_id or new_id(),
                "vin": vin,
                "kind": kind,
                "source": source,
                "at": at,
                "quota": quota,
            },
        )
    return row["outcome"], row["seq"], row["retry_after_s"]


async def checkpoint(room: Database) -> int | None:
    async with room.transaction() as conn:
        return await audit.checkpoint(conn, CLOCK)


async def verify(room: Database, **options: Any) -> audit.Unbroken:
    async with room.transaction() as conn:
        return await audit.verify(conn, **options)


@pytest.fixture
async def log(room: Database) -> Database:
    """Three commands each of two vehicles, a checkpoint, and one more of the first."""
    async with room.transaction() as conn:
        for vin in (VIN, OTHER_VIN):
            await registry.enroll(conn, vin=vin, model="AURORA", firmware="2.4.1")
    for vin in (VIN, OTHER_VIN):
        for second in range(3):
            await admit(room, vin, at=NOW + timedelta(seconds=second, microseconds=7))
    assert await checkpoint(room) == 1
    await admit(room, VIN, kind="QUERY")
    return room


def tamper(dsn: str, *statements: str) -> None:
    """As the database's owner, with every trigger off."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        for statement in statements:
            assert conn.execute(statement.encode()).rowcount > 0, statement


async def test_an_untouched_log_is_whole(log: Database) -> None:
    found = await verify(log)
    assert (found.commands, found.vehicles, found.checkpoints) == (7, 2, 1)
    assert await checkpoint(log) == 2
    assert await checkpoint(log) is None  # nothing new
    assert found.last is not None
    assert (await verify(log, expect=found.last)).checkpoints == 2
    assert (await verify(log, vin=OTHER_VIN)).commands == 3


LOG = "gateway.command_log"
FIRST = f"vin = '{VIN}'"
ATTACKS: dict[str, tuple[Sequence[str], str]] = {
    "a changed field": (
        [f"UPDATE {LOG} SET content = '{{}}' WHERE {FIRST} AND seq = 2"],
        f"{VIN}: command 2 (",
    ),
    "a changed time": (
        [f"UPDATE {LOG} SET admitted_at = admitted_at + interval '1 us' WHERE {FIRST} AND seq = 1"],
        f"{VIN}: command 1 (",
    ),
    "a command taken out": (
        [f"DELETE FROM {LOG} WHERE {FIRST} AND seq = 2"],
        f"{VIN}: command 2 is missing",
    ),
    "a command taken out, the rest renumbered": (
        [
            f"DELETE FROM {LOG} WHERE {FIRST} AND seq = 2",
            f"UPDATE {LOG} SET seq = seq - 1 WHERE {FIRST} AND seq > 2",
        ],
        f"{VIN}: command 2 does not follow",
    ),
    "two commands swapped": (
        [
            f"UPDATE {LOG} SET seq = 99 WHERE {FIRST} AND seq = 2",
            f"UPDATE {LOG} SET seq = 2 WHERE {FIRST} AND seq = 3",
            f"UPDATE {LOG} SET seq = 3 WHERE {FIRST} AND seq = 99",
        ],
        f"{VIN}: command 2 does not follow",
    ),
    "the end cut off": (
        [f"DELETE FROM {LOG} WHERE {FIRST} AND seq = 4"],
        f"{VIN}: the log ends elsewhere",
    ),
    "the end cut off, and the registry made to forget it": (
        [
            (
                f"UPDATE gateway.vehicle v SET last_seq = 2, last_hash = l.hash FROM {LOG} l"
                f" WHERE l.vin = v.vin AND l.seq = 2 AND v.{FIRST}"
            ),
            f"DELETE FROM {LOG} WHERE {FIRST} AND seq > 2",
        ],
        f"{VIN}: a checkpoint saw a command that is gone (command 3)",
    ),
    "a command slipped in": (
        [
            (
                f"INSERT INTO {LOG} SELECT gen_random_uuid(), vin, 5, kind, source, service,"
                f" content, admitted_at, hash, hash FROM {LOG} WHERE {FIRST} AND seq = 4"
            )
        ],
        f"{VIN}: command 5 (",
    ),
    "a whole vehicle removed": (
        [
            f"DELETE FROM {LOG} WHERE vin = '{OTHER_VIN}'",
            f"DELETE FROM gateway.vehicle WHERE vin = '{OTHER_VIN}'",
        ],
        f"{OTHER_VIN}: a checkpoint saw a command that is gone (command 3)",
    ),
    "a whole vehicle removed, and from its checkpoint": (
        [
            f"DELETE FROM {LOG} WHERE vin = '{OTHER_VIN}'",
            f"DELETE FROM gateway.vehicle WHERE vin = '{OTHER_VIN}'",
            f"DELETE FROM gateway.command_checkpoint_head WHERE vin = '{OTHER_VIN}'",
            "UPDATE gateway.command_checkpoint SET vehicles = 1",
        ],
        "checkpoint 1 was changed",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_tampering_is_found(log: Database, seeded: str, attack: str) -> None:
    statements, where = ATTACKS[attack]
    tamper(seeded, *statements)
    with pytest.raises(audit.Broken) as found:
        await verify(log)
    assert found.value.message.startswith(where)


async def test_a_removed_checkpoint_is_found(log: Database, seeded: str) -> None:
    await checkpoint(log)
    noted = (await verify(log)).last
    tamper(
        seeded,
        "DELETE FROM gateway.command_checkpoint_head WHERE checkpoint_id = 2",
        "DELETE FROM gateway.command_checkpoint WHERE checkpoint_id = 2",
    )
    await verify(log)  # the last one is missed only by who has noted it down
    with pytest.raises(audit.Broken, match="checkpoint 2, which is expected, is gone"):
        await verify(log, expect=noted)
    await admit(log)
    await checkpoint(log)
    with pytest.raises(audit.Broken, match="checkpoint 2 is not the expected one"):
        await verify(log, expect=noted)
    await admit(log)
    await checkpoint(log)
    tamper(
        seeded,
        "DELETE FROM gateway.command_checkpoint_head WHERE checkpoint_id = 2",
        "DELETE FROM gateway.command_checkpoint WHERE checkpoint_id = 2",
    )
    with pytest.raises(audit.Broken, match="checkpoint 2 is missing"):
        await verify(log)


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE {LOG} SET kind = 'TEST'",
        f"DELETE FROM {LOG}",
        f"TRUNCATE {LOG} CASCADE",
        "UPDATE gateway.command_checkpoint SET vehicles = 0",
        "DELETE FROM gateway.command_checkpoint_head",
    ],
)
async def test_the_log_only_grows(log: Database, seeded: str, statement: str) -> None:
    with (
        psycopg.connect(seeded, autocommit=True) as owner,
        pytest.raises(errors.InsufficientPrivilege, match="append-only"),
    ):
        owner.execute(statement.encode())
    with (
        psycopg.connect(seeded, autocommit=True, options="-c role=caas_gateway") as gateway,
        pytest.raises(errors.InsufficientPrivilege, match="permission denied"),
    ):
        gateway.execute(statement.encode())


async def test_the_quota_holds_over_all_doors_at_once(log: Database) -> None:
    later = NOW + timedelta(hours=2)
    asked = [
        admit(log, source=("ota", "iot_api")[turn % 2], at=later, quota=10) for turn in range(30)
    ]
    answers = await asyncio.gather(*asked)
    admitted = [seq for outcome, seq, _ in answers if outcome == "ADMITTED"]
    assert sorted(filter(None, admitted)) == list(range(5, 15))
    refused = [answer for answer in answers if answer[0] != "ADMITTED"]
    assert refused == [("RATE_LIMITED", None, 3600)] * 20
    # A question costs nothing, and the hour is over to the second.
    assert (await admit(log, kind="QUERY", at=later, quota=10))[0] == "ADMITTED"
    almost = later + timedelta(minutes=59, seconds=58, milliseconds=500)
    assert await admit(log, at=almost, quota=10) == ("RATE_LIMITED", None, 2)
    assert (await admit(log, at=later + timedelta(hours=1), quota=10))[0] == "ADMITTED"
    assert (await verify(log)).commands == 19


async def test_asking_again_gives_the_same_number_and_uses_no_quota(log: Database) -> None:
    command_id = new_id()
    first = await admit(log, command_id=command_id)
    assert await admit(log, command_id=command_id, quota=0) == first


async def test_the_command_line_says_where(
    log: Database, seeded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAAS_DB_DSN", seeded)
    monkeypatch.setenv("CAAS_DB_SET_ROLE", "true")

    def caas(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["audit", *arguments])

    run: Callable[..., Any] = lambda *arguments: asyncio.to_thread(caas, *arguments)  # noqa: E731
    whole = await run("verify")
    assert whole.exit_code == 0, whole.output
    assert "unbroken: 7 commands of 2 vehicles, 1 checkpoints" in whole.output
    made = (await run("checkpoint")).output.strip()
    assert made.startswith("2:")
    assert (await run("verify", "--expect", made)).exit_code == 0
    assert isinstance((await run("verify", "--expect", "2")).exception, DomainError)
    listed = await run("list", "--json", "--vin", VIN)
    assert listed.output.count('"command_id"') == 4
    tamper(seeded, f"DELETE FROM {LOG} WHERE {FIRST} AND seq = 2")
    broken = await run("verify", "--json")
    assert broken.exit_code == 1
    assert '"unbroken": false' in broken.output


async def test_a_log_from_before_is_chained_when_it_migrates(
    pg_cluster: Cluster, tmp_path: Path
) -> None:
    name = "audit_upgrade"
    with psycopg.connect(pg_cluster.dsn, autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE {name}".encode())
    dsn = dsn_of(pg_cluster, name)
    for file in MIGRATIONS.glob("*.sql"):
        if not file.name.startswith("0022"):
            shutil.copy(file, tmp_path)
    await migrate(dsn, tmp_path)
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("INSERT INTO config.vehicle_model VALUES ('M', 'M', 'PETROL', '1', '{}', 1)")
        for vin in (VIN, OTHER_VIN):
            owner.execute(
                "INSERT INTO gateway.vehicle (vin, model, firmware) VALUES (%s, 'M', '1')", (vin,)
            )
            for _ in range(2):
                owner.execute(
                    "SELECT gateway.admit_command_v1(gen_random_uuid(), %s, 'QUERY', 'ota', NULL,"
                    " '{}', now(), 10)",
                    (vin,),
                )
        owner.execute(
            "UPDATE gateway.command_log SET last_result = 'REPORT', answered_at = now()"
            " WHERE seq = 2"
        )
    assert await migrate(dsn, MIGRATIONS) == ["0022_gateway_audit.sql"]
    database = Database(load(DatabaseSettings, dsn=dsn, set_role=True), role="caas_gateway")
    await database.open()
    await admit(database)
    assert (await verify(database)).commands == 5
    async with database.transaction() as conn:
        answered = [row.last_result for row in await audit.list_commands(conn)]
    assert sorted(answer or "" for answer in answered) == ["", "", "", "REPORT", "REPORT"]
    await database.close()
