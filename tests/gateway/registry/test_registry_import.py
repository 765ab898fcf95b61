"""Importing a file of vehicles, on a real database."""

import io
from collections.abc import Sequence
from typing import Any

import pytest

from core.db import Database
from core.errors import Invalid
from core.ids import parse_vin
from core.passwords import hash_password, verify_password
from gateway import registry
from gateway.registry.bulk import CHUNK_LINES, FileRefused, ImportReport, import_vehicles
from gateway.registry.passwords import read_credentials
from tests.gateway.conftest import OTHER_VIN, VIN

HEADER = "vin,model,firmware,transport,secret,secret_hash"


def vin_of(number: int) -> str:
    return f"VF1AURXRA{number:08d}"


async def load_lines(room: Database, lines: Sequence[str], **how: Any) -> ImportReport:
    file = io.BytesIO("\n".join([HEADER, *lines]).encode())
    async with room.transaction() as conn:
        return await import_vehicles(conn, file, parse=parse_vin, actor="cli:tester", **how)


async def vins(room: Database) -> list[str]:
    async with room.transaction() as conn:
        return [v.vin for v in await registry.list_vehicles(conn, limit=100_000)]


async def test_good_lines_are_enrolled_and_the_others_reported(room: Database) -> None:
    async with room.transaction() as conn:
        await registry.enroll(conn, vin=VIN, model="AURORA", firmware="1.0", secret="as it was")
    report = await load_lines(
        room,
        [
            f"{VIN},AURORA,2.4.1,,another secret of some length,",
            f"{OTHER_VIN},AURORA,2.4.1,,,",
            "",
            f"{OTHER_VIN},AURORA,2.5.0,,,",
            "nonsense",
            f'{vin_of(3)},"AURORA,2.4.1,,,',
            f"{vin_of(4)},NONE,2.4.1,,,",
            f"{vin_of(5)},AURORA,2.4.1,iot_api,,",
        ],
    )
    counts = (report.lines, report.imported, report.known, report.repeated, report.refused)
    assert counts == (7, 2, 1, 1, 3)
    assert [bad.line for bad in report.bad] == [5, 6, 7, 8]
    assert await vins(room) == [vin_of(5), VIN, OTHER_VIN]
    async with room.transaction() as conn:
        first = await registry.show(conn, OTHER_VIN)
        (event,) = await registry.events(conn, OTHER_VIN)
        hashes = await read_credentials(conn)
    assert first.firmware == "2.4.1", "the earlier line of a repeated VIN counts"
    assert (event.action, event.actor) == ("IMPORTED", "cli:tester")
    assert set(hashes) == {VIN}
    assert verify_password("as it was", hashes[VIN])


async def test_secrets_come_from_the_file_or_are_made(room: Database) -> None:
    ready = hash_password("a ready secret of some length")
    lines = [
        f"{vin_of(1)},AURORA,2.4.1,,a plain secret of some length,",
        f"{vin_of(2)},AURORA,2.4.1,,,{ready}",
        f"{vin_of(3)},AURORA,2.4.1,,,",
        f"{vin_of(4)},AURORA,2.4.1,iot_api,,",
    ]
    report = await load_lines(room, lines, make_secrets=True)
    assert set(report.secrets) == {vin_of(3)}
    async with room.transaction() as conn:
        hashes = await read_credentials(conn)
    assert set(hashes) == {vin_of(1), vin_of(2), vin_of(3)}
    assert verify_password("a plain secret of some length", hashes[vin_of(1)])
    assert hashes[vin_of(2)] == ready
    assert verify_password(report.secrets[vin_of(3)], hashes[vin_of(3)])
    again = await load_lines(room, lines, make_secrets=True)
    assert (again.known, again.secrets) == (4, {}), "no secret for one that keeps its own"


async def test_a_strict_import_takes_all_or_nothing(room: Database) -> None:
    good = f"{vin_of(1)},AURORA,2.4.1,,,"
    for spoiling in ("nonsense", good):
        with pytest.raises(FileRefused) as refused:
            await load_lines(room, [good, spoiling], strict=True)
        assert refused.value.report.lines == 2
        assert await vins(room) == []
    assert (await load_lines(room, [good], strict=True)).imported == 1
    assert (await load_lines(room, [good], strict=True)).known == 1


async def test_a_repeated_vin_is_reported_with_both_lines(room: Database) -> None:
    lines = [f"{vin_of(n)},AURORA,2.4.1,,," for n in (1, 2, 1)]
    with pytest.raises(FileRefused) as refused:
        await load_lines(room, lines, strict=True)
    said = {"line": 4, "reason": f"{vin_of(1)} is in line 2 already"}
    assert refused.value.details["bad"] == [said]
    report = await load_lines(room, [*lines, "nonsense"])
    assert [bad.line for bad in report.bad] == [4, 5]
    assert (report.imported, report.repeated, report.refused) == (2, 1, 1)


async def test_a_file_of_several_chunks_is_read_in_order(room: Database) -> None:
    lines = [f"{vin_of(n)},AURORA,2.4.1,,," for n in range(CHUNK_LINES + 10)]
    lines.insert(CHUNK_LINES + 5, "nonsense")
    report = await load_lines(room, lines)
    assert (report.imported, [bad.line for bad in report.bad]) == (
        CHUNK_LINES + 10,
        [CHUNK_LINES + 7],
    )


async def test_an_endless_line_is_one_bad_line(room: Database) -> None:
    good = f"{vin_of(1)},AURORA,2.4.1,,,"
    report = await load_lines(room, ["x" * 3_000_000, good])
    assert (report.imported, report.refused) == (1, 1)


async def test_what_has_no_header_is_refused(room: Database) -> None:
    async with room.transaction() as conn:
        for data in (b"", b"\xff\xfe\x00", b"no such column\n"):
            with pytest.raises(Invalid):
                await import_vehicles(conn, io.BytesIO(data), parse=parse_vin, actor="cli:tester")
