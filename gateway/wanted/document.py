"""The wanted document in the database: what gets into it, and how people see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

import core.log
from core.contracts.bus import Command, ParameterSetting
from core.contracts.wanted import WantedValue, differences, parse_wanted
from core.db import Connection, load_queries
from core.errors import NotFound
from core.ids import parse_vin
from gateway.wanted.settings import WantedSettings

log = core.log.get(__name__)

QUERIES = load_queries("gateway.wanted")


@dataclass(frozen=True, slots=True)
class _Applied:
    vin: str
    source: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What gateway.want_v1 made of it; ``refused``: parameters that no service switches."""

    outcome: str
    version: int | None
    refused: list[str]


async def want(
    conn: Connection, vin: str, values: Sequence[WantedValue], cause: str, now: datetime
) -> Told:
    """Merge ``values`` into what is wanted of the vehicle (ADR 6); only what a service switches."""
    row = {"vin": vin, "values": Jsonb(msgspec.to_builtins(values)), "cause": cause, "now": now}
    told = await conn.one_or_none(Told, QUERIES["want"], row)
    assert told is not None
    return told


async def take_over(conn: Connection, command_ids: Sequence[UUID], now: datetime) -> None:
    """Want what these commands of the gateway's own door set: their vehicles have proved it."""
    for row in await conn.all(_Applied, QUERIES["applied_commands"], {"ids": list(command_ids)}):
        command = msgspec.convert(row.body, Command)
        reverts = {(item.module, item.parameter): item.value for item in command.revert_values}
        values = [
            WantedValue(
                item.module,
                item.parameter,
                item.value,
                command.valid_until if (item.module, item.parameter) in reverts else None,
                reverts.get((item.module, item.parameter)) if command.valid_until else None,
            )
            for item in command.values
        ]
        told = await want(conn, row.vin, values, f"{row.source}: {command.service}", now)
        if told.refused:
            log.warning("not in the wanted configuration", vin=row.vin, parameters=told.refused)


async def configuration(
    conn: Connection, vin: str, now: datetime, settings: WantedSettings
) -> dict[str, Any]:
    """Wanted, reported and their difference, for people; NotFound: no such vehicle."""
    parsed = parse_vin(vin)
    rows = await conn.dicts(QUERIES["configuration"], {"vin": parsed})
    if not rows:
        raise NotFound("UNKNOWN_VIN", f"the registry does not know the vehicle {parsed}")
    row = rows[0]
    wanted = parse_wanted(row["wanted_values"])
    reported = msgspec.convert(row["reported_values"] or [], list[ParameterSetting])
    drifts = await conn.dicts(QUERIES["drift_shown"], {"vin": parsed})
    return {
        **row,
        "difference": differences(wanted, reported, now, settings.end_grace)
        if row["reported_at"]
        else [],
        "wanted": wanted,
        "reported": reported,
        "drift": drifts[0] if drifts else None,
    }
