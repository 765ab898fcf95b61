"""The wanted configuration in the database: judge reports, keep drifts; the edge commits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

import core.jobs
import core.log
from core.contracts.bus import Command, ParameterSetting, digest_of
from core.contracts.jobs import CorrectDrift
from core.contracts.wanted import Difference, WantedValue, differences, next_change, parse_wanted
from core.db import Connection, load_queries
from core.errors import NotFound
from core.ids import new_id, parse_vin
from gateway.wanted import metrics, rules
from gateway.wanted.rules import Ended, LastCommand, Limits, OpenDrift, Report
from gateway.wanted.settings import WantedSettings

log = core.log.get(__name__)

QUERIES = load_queries("gateway.wanted")


@dataclass(frozen=True, slots=True)
class _Standing:
    version: int
    wanted_values: list[dict[str, Any]]
    model: str
    reported_values: list[dict[str, Any]] | None
    reported_seq: int | None
    reported_at: datetime | None
    firmware: str
    last_seq: int | None
    last_result: str | None
    answered_at: datetime | None
    expires_at: datetime | None
    today: int

    @property
    def last(self) -> LastCommand | None:
        if self.last_seq is None:
            return None
        return LastCommand(self.last_seq, self.last_result, self.answered_at, self.expires_at)

    @property
    def reported(self) -> list[ParameterSetting]:
        return msgspec.convert(self.reported_values or [], list[ParameterSetting])


@dataclass(frozen=True, slots=True)
class _Drift:
    drift_id: UUID
    opened_at: datetime
    state: str
    cause: str
    wanted_version: int
    difference: list[dict[str, Any]]
    firmware: str
    rounds: int
    reason: str | None
    delivering: bool

    @property
    def known(self) -> OpenDrift:
        return OpenDrift(
            self.state,
            self.cause,
            self.wanted_version,
            msgspec.convert(self.difference, list[Difference]),
            self.firmware,
            self.rounds,
            self.reason,
            self.delivering,
        )


@dataclass(frozen=True, slots=True)
class _Parameter:
    module: str
    parameter: str


@dataclass(frozen=True, slots=True)
class _Vin:
    vin: str


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


@dataclass(slots=True)
class Judging:
    """One report to be judged, in the transaction that stores it."""

    vin: str
    report: Report
    now: datetime
    settings: WantedSettings
    on_commit: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


async def judge(conn: Connection, judging: Judging) -> bool:
    """Compare a report with what is wanted, and open, go on with or close the vehicle's drift.

    False where the report is older than our last command, so that it says nothing.
    """
    row = {"vin": judging.vin, "day_ago": judging.now - timedelta(days=1)}
    standing = await conn.one_or_none(_Standing, QUERIES["standing"], row)
    if standing is None:
        return True
    report, now = judging.report, judging.now
    if not rules.says_the_present(report, standing.last, now):
        return False
    wanted = parse_wanted(standing.wanted_values)
    found = differences(wanted, report.values, now, judging.settings.end_grace)
    drift = await conn.one_or_none(_Drift, QUERIES["open_drift"], {"vin": judging.vin})
    held = await _held(conn, judging.vin) if found else frozenset[tuple[str, str]]()
    decision = rules.decide(
        None if drift is None else drift.known,
        report,
        standing.model,
        standing.version,
        found,
        held,
        _cause(standing, judging, wanted, found),
        standing.today,
        Limits(judging.settings.drifts_per_day, judging.settings.rounds),
    )
    await _carry_out(conn, judging, standing, drift, found, decision)
    # While it drifts nothing counts as in step, or the report that ends the drift would be skipped.
    in_step = not found and report.model == standing.model
    await conn.execute(
        QUERIES["in_step"],
        {
            "vin": judging.vin,
            "digest": digest_of(report.values) if in_step else None,
            "version": standing.version,
            "until": next_change(wanted, now, judging.settings.end_grace),
        },
    )
    return True


def _cause(
    standing: _Standing,
    judging: Judging,
    wanted: Sequence[WantedValue],
    found: Sequence[Difference],
) -> rules.Cause:
    before = differences(wanted, standing.reported, judging.now, judging.settings.end_grace)
    keys = {difference.key for difference in found}
    # Without a report before there is nothing that could have been changed.
    differed = standing.reported_at is None or any(item.key in keys for item in before)
    return rules.cause_of(judging.report, found, standing.reported_seq, differed)


async def _held(conn: Connection, vin: str) -> frozenset[tuple[str, str]]:
    rows = await conn.all(_Parameter, QUERIES["held"], {"vin": vin})
    return frozenset((row.module, row.parameter) for row in rows)


async def _carry_out(
    conn: Connection,
    judging: Judging,
    standing: _Standing,
    drift: _Drift | None,
    found: Sequence[Difference],
    decision: rules.Decision,
) -> None:
    row = {
        "vin": judging.vin,
        "now": judging.now,
        "version": standing.version,
        "difference": Jsonb(msgspec.to_builtins(found)),
        "firmware": judging.report.firmware,
        "report_seq": judging.report.seq,
        "report_at": judging.report.at,
    }
    if isinstance(decision, rules.Open):
        await _open(conn, judging, decision, row)
    elif isinstance(decision, rules.Ask) and drift is not None:
        cause = _cause(standing, judging, parse_wanted(standing.wanted_values), found)
        more = {"drift_id": drift.drift_id, "more": int(decision.again), "cause": cause.value}
        await conn.execute(QUERIES["ask_again"], row | more)
        await core.jobs.defer(conn, CorrectDrift(judging.vin, drift.drift_id))
    elif isinstance(decision, rules.Alarm) and drift is not None:
        more = {"cause": decision.cause.value, "reason": decision.reason}
        await conn.execute(QUERIES["raise_alarm"], {"drift_id": drift.drift_id, **more})
        judging.on_commit.append(metrics.DRIFTS.labels(decision.cause.value).inc)
        log.error("drift alarm", vin=judging.vin, **more)
    elif isinstance(decision, rules.Close) and drift is not None:
        await _close(conn, judging, standing, drift)


async def _open(
    conn: Connection, judging: Judging, decision: rules.Open, row: dict[str, Any]
) -> None:
    drift_id = new_id()
    more = {
        "drift_id": drift_id,
        "cause": decision.cause.value,
        "state": decision.state.value,
        "reason": decision.reason,
    }
    if not await conn.execute(QUERIES["open"], row | more):
        return
    judging.on_commit.append(metrics.DRIFTS.labels(decision.cause.value).inc)
    log.warning(
        "configuration drift",
        vin=judging.vin,
        cause=decision.cause.value,
        state=decision.state.value,
        difference=row["difference"].obj,
    )
    if decision.state is rules.DriftState.CORRECTING:
        await core.jobs.defer(conn, CorrectDrift(judging.vin, drift_id))


async def _close(conn: Connection, judging: Judging, standing: _Standing, drift: _Drift) -> None:
    by_us = await conn.value(
        QUERIES["commanded_since"],
        {"vin": judging.vin, "opened_at": drift.opened_at, "seq": judging.report.seq},
    )
    if by_us:
        ended = Ended.CORRECTED
    elif standing.version != drift.wanted_version:
        ended = Ended.SUPERSEDED
    else:
        ended = Ended.BY_ITSELF
    row = {"drift_id": drift.drift_id, "now": judging.now, "ended": ended.value}
    if await conn.execute(QUERIES["close"], row):
        judging.on_commit.append(metrics.DRIFTS_ENDED.labels(ended.value).inc)
        log.info("drift closed", vin=judging.vin, ended=ended.value)


async def judge_again(
    conn: Connection, vin: str, now: datetime, settings: WantedSettings
) -> Judging | None:
    """Judge the vehicle's stored report anew, as after a change of what is wanted."""
    await conn.value(QUERIES["lock_state"], {"vin": vin})
    row = {"vin": vin, "day_ago": now - timedelta(days=1)}
    stored = await conn.one_or_none(_Standing, QUERIES["standing"], row)
    if stored is None or stored.reported_seq is None or stored.reported_at is None:
        return None
    report = Report(
        stored.reported, stored.reported_seq, stored.reported_at, stored.firmware, stored.model
    )
    judging = Judging(vin, report, now, settings)
    await judge(conn, judging)
    return judging


async def superseded(conn: Connection, batch: int) -> list[str]:
    """Vehicles whose open drift was found with another wanted version."""
    return [row.vin for row in await conn.all(_Vin, QUERIES["superseded"], {"batch": batch})]


async def count_drifting(conn: Connection) -> dict[str, int]:
    """Vehicles that drift now, by state."""
    rows = await conn.dicts(QUERIES["count_drifting"])
    return {row["state"]: row["vehicles"] for row in rows}


async def want(
    conn: Connection, vin: str, values: Sequence[WantedValue], cause: str, now: datetime
) -> Told:
    """Merge ``values`` into what is wanted of the vehicle (ADR 5); only what a service switches."""
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
