"""Many vehicles at once from a CSV file: all of it in one transaction, through COPY."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

from psycopg import AsyncCopy

from core.db import Connection
from core.errors import Invalid
from core.passwords import hash_password
from gateway.registry.csv_rows import (
    MAX_LINE_BYTES,
    BadLine,
    Columns,
    NewVehicle,
    Rules,
    read_header,
    read_line,
)
from gateway.registry.model import MQTT
from gateway.registry.service import QUERIES, new_secret
from gateway.registry.vins import ParseVin

CHUNK_LINES = 2000
# The rest is only counted.
MAX_REPORTED = 1000
# Hashing leaves Python's lock alone, so that threads share it between the processors.
_HASHERS = 4
_TYPES = ["text"] * 5

Progress = Callable[[int], None]


@dataclass(slots=True)
class ImportReport:
    """What became of a file. ``bad``: the first thousand that are ``refused`` or ``repeated``.

    ``known``: the registry has them already, and they stay as they are. ``repeated``: a VIN that an
    earlier line of the file has. ``secrets``: VIN → secret, of those made here. ``new``: VIN →
    (secret, hash) of imported vehicles, for the broker, as many as were to be remembered, and
    ``later``: how many more have a secret.
    """

    lines: int = 0
    imported: int = 0
    known: int = 0
    repeated: int = 0
    refused: int = 0
    bad: list[BadLine] = field(default_factory=list[BadLine])
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    new: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    later: int = 0

    def refuse(self, line: BadLine) -> None:
        """Count a line, and remember it while there is room."""
        self.refused += 1
        self._remember(line)

    def repeat(self, line: BadLine) -> None:
        """Count a line whose VIN an earlier one has, and remember it while there is room."""
        self.repeated += 1
        self._remember(line)

    def _remember(self, line: BadLine) -> None:
        if len(self.bad) < MAX_REPORTED:
            self.bad.append(line)


# With the hash to store and the secret it was made from, where that is known.
_Hashed = tuple[NewVehicle, str | None, str | None]


@dataclass(slots=True)
class _Seen:
    """What was read so far: every VIN, those with a secret, and what is remembered of secrets."""

    remember: int
    vins: dict[str, int] = field(default_factory=dict[str, int])  # and the line of each
    with_secret: set[str] = field(default_factory=set[str])
    made: dict[str, str] = field(default_factory=dict[str, str])
    new: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Lines that were read."""

    rows: list[_Hashed]
    bad: list[BadLine]
    lines: int
    at_byte: int


class FileRefused(Invalid):
    """A strict import met a line it cannot use; nothing was imported."""

    def __init__(self, report: ImportReport) -> None:
        faults = report.refused + report.repeated
        super().__init__(
            "IMPORT_REFUSED",
            f"{faults} of {report.lines} lines cannot be used, and nothing was imported",
            details={
                "lines": report.lines,
                "refused": report.refused,
                "repeated": report.repeated,
                "bad": [{"line": bad.line, "reason": bad.reason} for bad in report.bad],
            },
        )
        self.report = report


async def import_vehicles(
    conn: Connection,
    file: BinaryIO,
    *,
    parse: ParseVin,
    actor: str,
    strict: bool = False,
    make_secrets: bool = False,
    remember: int = 0,
    progress: Progress = lambda _: None,
) -> ImportReport:
    """Enrol every vehicle of ``file`` that the registry does not know, within the transaction.

    A vehicle gets the secret its line has, or else none (it signs in with a certificate, or after
    ``rotate``), or with ``make_secrets`` a generated one. ``strict``: FileRefused at any line that
    cannot be used or repeats a VIN. ``remember``: so many secrets are kept in the report, for the
    broker. ``progress``: told the bytes read so far. Invalid: no header.
    """
    header = await asyncio.to_thread(file.readline, MAX_LINE_BYTES + 1)
    columns = read_header(header)
    models = {row["code"] for row in await conn.dicts(QUERIES["models"])}
    rules = Rules(parse, models)
    report, seen = ImportReport(), _Seen(remember)
    await conn.execute(QUERIES["import_stage"])
    async with conn.cursor() as cursor, cursor.copy(QUERIES["import_copy"]) as copy:
        copy.set_types(_TYPES)
        async for chunk in _chunks(file, columns, rules, make_secrets):
            await _take(chunk, copy, report, seen)
            progress(chunk.at_byte)
    report.bad.sort(key=lambda bad: bad.line)
    if strict and (report.refused or report.repeated):
        raise FileRefused(report)
    imported = {
        row["vin"] for row in await conn.dicts(QUERIES["import_vehicles"], {"actor": actor})
    }
    report.imported = len(imported)
    report.known = len(seen.vins) - report.imported
    report.secrets = {vin: secret for vin, secret in seen.made.items() if vin in imported}
    report.new = {vin: both for vin, both in seen.new.items() if vin in imported}
    report.later = len(seen.with_secret & imported) - len(report.new)
    return report


async def _take(chunk: _Chunk, copy: AsyncCopy, report: ImportReport, seen: _Seen) -> None:
    report.lines += chunk.lines
    for bad in chunk.bad:
        report.refuse(bad)
    for vehicle, secret_hash, secret in chunk.rows:
        vin = vehicle.vin
        first = seen.vins.setdefault(vin, vehicle.line)
        if first != vehicle.line:
            report.repeat(BadLine(vehicle.line, f"{vin} is in line {first} already"))
            continue
        if secret_hash is not None:
            seen.with_secret.add(vin)
            if secret is not None and len(seen.new) < seen.remember:
                seen.new[vin] = (secret, secret_hash)
        if secret is not None and vehicle.secret is None:
            seen.made[vin] = secret
        await copy.write_row((vin, vehicle.model, vehicle.firmware, vehicle.transport, secret_hash))


async def _chunks(
    file: BinaryIO, columns: Columns, rules: Rules, make_secrets: bool
) -> AsyncGenerator[_Chunk]:
    """The file in chunks, read, checked and hashed off the event loop."""
    numbered = enumerate(_lines(file), 2)
    with ThreadPoolExecutor(_HASHERS, thread_name_prefix="hash") as hashers:
        while True:
            chunk = await asyncio.to_thread(
                _read_chunk, file, numbered, columns, rules, make_secrets, hashers
            )
            if chunk is None:
                return
            yield chunk


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines; of one that is too long, its beginning, so that no file fills the memory."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LINE_BYTES + 1)
        yield line


def _read_chunk(
    file: BinaryIO,
    numbered: Iterator[tuple[int, bytes]],
    columns: Columns,
    rules: Rules,
    make_secrets: bool,
    hashers: ThreadPoolExecutor,
) -> _Chunk | None:
    taken = list(islice(numbered, CHUNK_LINES))
    if not taken:
        return None
    good: list[NewVehicle] = []
    bad: list[BadLine] = []
    lines = 0
    for number, line in taken:
        if not line.strip():
            continue
        lines += 1
        found = read_line(number, line, columns, rules)
        if isinstance(found, BadLine):
            bad.append(found)
        else:
            good.append(found)
    share = -(-len(good) // _HASHERS) or 1
    shares = [good[start : start + share] for start in range(0, len(good), share)]

    def hash_all(vehicles: list[NewVehicle]) -> list[_Hashed]:
        return [_with_hash(vehicle, make_secrets) for vehicle in vehicles]

    rows = [row for hashed in hashers.map(hash_all, shares) for row in hashed]
    return _Chunk(rows, bad, lines, file.tell())


def _with_hash(vehicle: NewVehicle, make_secrets: bool) -> _Hashed:
    if vehicle.secret_hash is not None:
        return vehicle, vehicle.secret_hash, None
    if vehicle.secret is not None:
        return vehicle, hash_password(vehicle.secret), vehicle.secret
    if not make_secrets or vehicle.transport != MQTT:
        return vehicle, None, None
    made = new_secret()
    return vehicle, hash_password(made), made


def as_dict(report: ImportReport) -> dict[str, Any]:
    """The report for machines; without the secrets."""
    return {
        "lines": report.lines,
        "imported": report.imported,
        "known": report.known,
        "repeated": report.repeated,
        "refused": report.refused,
        "bad": [{"line": bad.line, "reason": bad.reason} for bad in report.bad],
    }
