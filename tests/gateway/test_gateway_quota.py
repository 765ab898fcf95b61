"""Ten configuration commands an hour, whoever asks and over how many connections (DOMAIN 7)."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from core.db.pool import connect

QUOTA = 10
START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DOORS = (("caas_ota", "ota"), ("caas_gateway", "iot_api"))
VINS = [f"VF1AURXRA{number:08d}" for number in range(1, 9)]
ADMIT: LiteralString = (
    "SELECT outcome, seq, retry_after_s"
    " FROM gateway.admit_command_v1(%s, %s, %s, %s, 'PERF_BOOST_50', %s, %s, %s)"
)
ADMIT_MANY: LiteralString = (
    "SELECT command_id, outcome, seq, retry_after_s"
    " FROM gateway.admit_commands_v1(%s, %s, %s, 'ota', %s, %s, %s, %s)"
)
Admission = tuple[str, int | None, int | None]


@pytest.fixture
def fleet(database: str) -> str:
    """The DSN of a database that knows the vehicles."""
    with psycopg.connect(database, autocommit=True) as conn:
        for vin in VINS:
            conn.execute(
                "INSERT INTO gateway.vehicle (vin, model, firmware) VALUES (%s, 'AURORA', '2.4.1')",
                (vin,),
            )
    return database


def admit(
    conn: psycopg.Connection[Any],
    *,
    at: datetime,
    command_id: UUID | None = None,
    kind: str = "CONFIGURE",
    source: str = "ota",
    vin: str = VINS[0],
) -> Admission:
    row = (command_id or uuid4(), vin, kind, source, Jsonb({"values": []}), at, QUOTA)
    found = conn.execute(ADMIT, row).fetchone()
    assert found is not None
    return found


async def test_ten_an_hour_hold_over_both_doors_and_many_connections(fleet: str) -> None:
    everybody_is_here = asyncio.Barrier(40)

    async def ask(number: int) -> list[Admission]:
        role, source = DOORS[number % 2]
        conn = await connect(fleet, role=role)
        found: list[Admission] = []
        try:
            async with everybody_is_here:
                for _ in range(3):
                    row = (uuid4(), VINS[0], "CONFIGURE", source, Jsonb({}), START, QUOTA)
                    cursor = await conn.execute(ADMIT, row)
                    found += await cursor.fetchall()
        finally:
            await conn.close()
        return found

    answers = [answer for each in await asyncio.gather(*map(ask, range(40))) for answer in each]
    admitted = sorted(seq for outcome, seq, _ in answers if outcome == "ADMITTED" and seq)
    assert admitted == list(range(1, QUOTA + 1))
    refused = [answer for answer in answers if answer[0] != "ADMITTED"]
    assert refused == [("RATE_LIMITED", None, 3600)] * (120 - QUOTA)
    with psycopg.connect(fleet) as conn:
        logged = conn.execute("SELECT count(*) FROM gateway.command_log_v1").fetchone()
    assert logged == (QUOTA,)


def test_retry_after_is_right_to_the_second(fleet: str) -> None:
    first = START + timedelta(seconds=7, milliseconds=250)
    with psycopg.connect(fleet, autocommit=True) as conn:
        for number in range(QUOTA):
            at = first + number * timedelta(minutes=5)
            outcome, seq, _ = admit(conn, at=at, source=DOORS[number % 2][1])
            assert (outcome, seq) == ("ADMITTED", number + 1)
        asked = START + timedelta(minutes=50)
        outcome, _, wait_s = admit(conn, at=asked)
        assert (outcome, wait_s) == ("RATE_LIMITED", 608)  # 10 min 7.25 s, whole seconds upward
        assert admit(conn, at=asked + timedelta(seconds=607))[0] == "RATE_LIMITED"
        assert admit(conn, at=asked + timedelta(seconds=608))[0] == "ADMITTED"
        # The window rolls: the next place is free when the second of them is an hour old.
        second = first + timedelta(minutes=5)
        assert admit(conn, at=second + HOUR - timedelta(milliseconds=1))[2] == 1
        assert admit(conn, at=second + HOUR)[0] == "ADMITTED"


def test_the_same_command_again_uses_nothing(fleet: str) -> None:
    mine = uuid4()
    with psycopg.connect(fleet, autocommit=True) as conn:
        assert [admit(conn, at=START, command_id=mine) for _ in range(5)] == [
            ("ADMITTED", 1, None)
        ] * 5
        for _ in range(QUOTA - 1):
            assert admit(conn, at=START)[0] == "ADMITTED"
        assert admit(conn, at=START)[0] == "RATE_LIMITED"
        assert admit(conn, at=START, command_id=mine) == ("ADMITTED", 1, None)


def test_only_configuration_counts_and_each_vehicle_for_itself(fleet: str) -> None:
    with psycopg.connect(fleet, autocommit=True) as conn:
        for kind in ("QUERY", "TEST", "DISPLAY"):
            for _ in range(QUOTA):
                assert admit(conn, at=START, kind=kind)[0] == "ADMITTED"
        for _ in range(QUOTA):
            assert admit(conn, at=START)[0] == "ADMITTED"
        assert admit(conn, at=START)[0] == "RATE_LIMITED"
        assert admit(conn, at=START, kind="QUERY")[0] == "ADMITTED"
        assert admit(conn, at=START, vin=VINS[1])[0] == "ADMITTED"


def test_a_rollback_gives_the_place_and_the_number_back(fleet: str) -> None:
    with psycopg.connect(fleet) as conn:
        assert admit(conn, at=START) == ("ADMITTED", 1, None)
        conn.rollback()
        assert admit(conn, at=START) == ("ADMITTED", 1, None)


def test_a_batch_is_the_same_as_calls_one_by_one(fleet: str) -> None:
    dice = random.Random(7)
    wanted = [
        (uuid4(), dice.choice([*VINS[:3], "VF1AURXRA99999999"]), dice.choice(["CONFIGURE", "TEST"]))
        for _ in range(120)
    ]
    wanted.append(wanted[0])  # the same command again
    with psycopg.connect(fleet) as conn:
        one_by_one = {
            (command_id, *admit(conn, at=START, command_id=command_id, kind=kind, vin=vin))
            for command_id, vin, kind in wanted
        }
        conn.rollback()
        batch = conn.execute(ADMIT_MANY, columns(wanted)).fetchall()
    assert {row[1] for row in one_by_one} == {"ADMITTED", "RATE_LIMITED", "UNKNOWN_VIN"}
    assert set(batch) == one_by_one
    assert len(batch) == len(wanted)


async def test_batches_over_the_same_vehicles_wait_for_each_other_and_end(fleet: str) -> None:
    everybody_is_here = asyncio.Barrier(8)

    async def ask(number: int) -> list[tuple[Any, ...]]:
        conn = await connect(fleet, role=DOORS[number % 2][0])
        dice = random.Random(number)
        found: list[tuple[Any, ...]] = []
        try:
            async with everybody_is_here:
                for _ in range(5):
                    order = dice.sample(VINS, len(VINS))
                    wanted = [(uuid4(), vin, "CONFIGURE") for vin in order]
                    found += await (await conn.execute(ADMIT_MANY, columns(wanted))).fetchall()
        finally:
            await conn.close()
        return found

    rows = [row for each in await asyncio.gather(*map(ask, range(8))) for row in each]
    assert len(rows) == 8 * 5 * len(VINS)
    assert sum(row[1] == "ADMITTED" for row in rows) == QUOTA * len(VINS)


def columns(wanted: list[tuple[UUID, str, str]]) -> tuple[Any, ...]:
    ids, vins, kinds = zip(*wanted, strict=True)
    contents = [Jsonb({"values": []}) for _ in wanted]
    services = ["PERF_BOOST_50" for _ in wanted]
    return list(ids), list(vins), list(kinds), services, contents, START, QUOTA
