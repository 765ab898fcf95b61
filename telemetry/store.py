"""One batch in one transaction: samples by COPY, the rest row by row, refusals quarantined."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from psycopg.types.json import Jsonb
from psycopg.types.multirange import Multirange

from core.contracts.bus import (
    EPOCH,
    Answer,
    PresenceMessage,
    ReportedConfig,
    Sample,
    TelemetryBatch,
    VehicleEvent,
    VehicleStatus,
    encode,
)
from core.db import Connection, Database
from core.errors import Invalid
from telemetry.decode import Received
from telemetry.known import QUERIES, KnownDays, KnownVehicles

_STAGE_TYPES = ["int4", "int8", *["float8"] * 11, "text", "jsonb"]
_DETAIL_LENGTH = 500
# The order of the statements, and so of the locks, in every batch.
_INSERTS = (
    (Answer, "insert_answer"),
    (VehicleEvent, "insert_event"),
    (VehicleStatus, "insert_status"),
    (ReportedConfig, "insert_config"),
    (PresenceMessage, "insert_presence"),
)


@dataclass(frozen=True, slots=True)
class Committed:
    """What one vehicle's boot has in the database: half-open ranges of message numbers."""

    vin: str
    boot: int
    received: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch: the messages (refused ones as such), the counts, the receipts."""

    messages: list[Received]
    samples: int
    duplicates: int
    receipts: list[Committed]


@dataclass(frozen=True, slots=True)
class _ReceiptRow:
    vehicle_id: int
    boot: int
    received: Multirange[int]


class Store:
    """Writes batches; a batch that comes again changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._vehicles = KnownVehicles(database)
        self.days = KnownDays(database)

    async def write(self, batch: Sequence[Received], now: datetime) -> Written:
        """Commit a batch as a whole, or raise and leave nothing of it."""
        ids = await self._vehicles.ids({item.vin for item in batch if item.vin is not None})
        messages = [_known(item, ids) for item in batch]
        by_vehicle = sorted(
            (item for item in messages if item.vin in ids), key=lambda item: ids[item.vin or ""]
        )
        rows = [row for item in by_vehicle for row in _sample_rows(item, ids)]
        try:
            await self.days.ensure(_days(rows))
            async with self._database.transaction() as conn:
                stored = await _insert_samples(conn, rows) if rows else 0
                await _insert_others(conn, by_vehicle, ids)
                await _quarantine(conn, messages)
                receipts = await _add_receipts(conn, by_vehicle, ids)
                if rows:
                    await conn.execute(QUERIES["update_latest_samples"], {"received_at": now})
        except Invalid:
            self.days.forget()  # how a partition that was dropped shows
            raise
        return Written(messages, stored, len(rows) - stored, receipts)


def _known(item: Received, ids: dict[str, int]) -> Received:
    if item.body is None or item.vin in ids:
        return item
    return item.refused("UNKNOWN_VIN", "the registry does not know this vehicle")


_Row = tuple[Any, ...]
_DAY_MS = 86_400_000


def _days(rows: Sequence[_Row]) -> set[date]:
    return {EPOCH.date() + timedelta(days=day) for day in {row[1] // _DAY_MS for row in rows}}


def _json(value: Any) -> Jsonb:
    return Jsonb(value, dumps=msgspec.json.encode)


def _sample_rows(item: Received, ids: dict[str, int]) -> list[_Row]:
    if not isinstance(item.body, TelemetryBatch):
        return []
    vehicle_id = ids[item.vin or ""]
    return [_sample_row(vehicle_id, sample) for sample in item.body.samples]


def _sample_row(vehicle_id: int, s: Sample) -> _Row:
    return (
        vehicle_id,
        s.t,
        s.speed_kmh,
        s.soc_pct,
        s.odometer_km,
        s.lat,
        s.lon,
        s.heading_deg,
        s.battery_v,
        s.battery_temp_c,
        s.motor_temp_c,
        s.ambient_c,
        s.power_kw,
        None if s.state is None else s.state.value,
        None if s.extra is None else _json(s.extra),
    )


async def _insert_samples(conn: Connection, rows: Sequence[_Row]) -> int:
    await conn.execute(QUERIES["make_stage"])
    async with conn.cursor() as cursor, cursor.copy(QUERIES["copy_samples"]) as copy:
        copy.set_types(_STAGE_TYPES)
        for row in rows:
            await copy.write_row(row)
    return await conn.execute(QUERIES["insert_samples"])


async def _insert_others(
    conn: Connection, by_vehicle: Sequence[Received], ids: dict[str, int]
) -> None:
    for kind, statement in _INSERTS:
        rows = [
            _columns(item.body, ids[item.vin or ""], item.at)
            for item in by_vehicle
            if isinstance(item.body, kind)
        ]
        if rows:
            await conn.execute_many(QUERIES[statement], rows)


def _columns(
    body: Answer | PresenceMessage | ReportedConfig | VehicleEvent | VehicleStatus,
    vehicle_id: int,
    received_at: datetime,
) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: getattr(body, name)
        for name in type(body).__struct_fields__
        if name not in ("values", "active_services", "error_codes")
    }
    columns |= {"vehicle_id": vehicle_id, "received_at": received_at}
    if isinstance(body, VehicleStatus):
        columns["status"] = _json(msgspec.json.decode(encode(body)))
    elif isinstance(body, ReportedConfig):
        columns["reported"] = _json(body.values)
    return columns


async def _quarantine(conn: Connection, messages: Sequence[Received]) -> None:
    rows = [
        {
            "received_at": item.at,
            "topic": _text(item.message.topic),
            "payload": item.message.payload,
            "reason": item.refusal.reason,
            "detail": _text(item.refusal.detail)[:_DETAIL_LENGTH],
        }
        for item in messages
        if item.refusal is not None
    ]
    if rows:
        await conn.execute_many(QUERIES["quarantine"], rows)


def _text(text: str) -> str:
    """``text`` as PostgreSQL can hold it."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


async def _add_receipts(
    conn: Connection, by_vehicle: Sequence[Received], ids: dict[str, int]
) -> list[Committed]:
    named = [item for item in by_vehicle if item.position is not None]
    if not named:
        return []
    rows = await conn.all(
        _ReceiptRow,
        QUERIES["add_receipts"],
        {
            "vehicle_ids": [ids[item.vin or ""] for item in named],
            "boots": [item.position.boot for item in named if item.position is not None],
            "ns": [item.position.n for item in named if item.position is not None],
            "received_at": [item.at for item in named],
        },
    )
    vins = {ids[item.vin]: item.vin for item in named if item.vin is not None}
    return [
        Committed(vins[row.vehicle_id], row.boot, [_bounds(span) for span in row.received])
        for row in rows
    ]


def _bounds(span: Any) -> tuple[int, int]:
    return span.lower, span.upper
