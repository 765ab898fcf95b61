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
from core.contracts.bus import ParameterSetting, digest_of
from core.contracts.jobs import CorrectDrift
from core.contracts.wanted import Difference, WantedValue, differences, next_change, parse_wanted
from core.db import Connection, load_queries
from core.ids import new_id
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
    asked_at: datetime | None
    failed_at: datetime | None
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
            self.asked_at,
            self.failed_at,
        )


@dataclass(frozen=True, slots=True)
class _Parameter:
    module: str
    parameter: str


@dataclass(frozen=True, slots=True)
class _Vin:
    vin: str


@dataclass(slots=True)
class Judging:
    """One report to be judged, in the transaction that stores it."""

    vin: str
    report: Report
    now: datetime
    settings: WantedSettings
    on_commit: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    @property
    def limits(self) -> Limits:
        settings = self.settings
        return Limits(settings.drifts_per_day, settings.rounds, settings.ask_every)


async def judge(conn: Connection, judging: Judging) -> bool:
    """Compare a report with what is wanted, and open, go on with or close the vehicle's drift.

    False where the report is older than our last command, so that it says nothing.
    """
    standing = await _standing(conn, judging.vin, judging.now)
    if standing is None or not standing.version:
        return True  # nothing is wanted of it
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
        judging.limits,
        now,
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


async def _standing(conn: Connection, vin: str, now: datetime) -> _Standing | None:
    row = {"vin": vin, "day_ago": now - timedelta(days=1)}
    return await conn.one_or_none(_Standing, QUERIES["standing"], row)


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
    row = _row(judging, standing, msgspec.to_builtins(found))
    if isinstance(decision, rules.Open):
        await _open(conn, judging, decision, row)
    elif isinstance(decision, rules.Ask) and drift is not None:
        cause = _cause(standing, judging, parse_wanted(standing.wanted_values), found)
        more = {"drift_id": drift.drift_id, "more": int(decision.again), "cause": cause.value}
        await conn.execute(QUERIES["ask_again"], row | more)
        await core.jobs.defer(conn, CorrectDrift(judging.vin, drift.drift_id))
    elif isinstance(decision, rules.Update) and drift is not None:
        await conn.execute(QUERIES["update"], row | {"drift_id": drift.drift_id})
    elif isinstance(decision, rules.Alarm) and drift is not None:
        more = {"cause": decision.cause.value, "reason": decision.reason}
        await conn.execute(QUERIES["raise_alarm"], {"drift_id": drift.drift_id, **more})
        judging.on_commit.append(metrics.DRIFTS.labels(decision.cause.value).inc)
        log.error("drift alarm", vin=judging.vin, **more)
    elif isinstance(decision, rules.Close) and drift is not None:
        await _close(conn, judging, standing, drift)


def _row(judging: Judging, standing: _Standing, difference: Any) -> dict[str, Any]:
    return {
        "vin": judging.vin,
        "now": judging.now,
        "version": standing.version,
        "difference": Jsonb(difference),
        "firmware": judging.report.firmware,
        "report_seq": judging.report.seq,
        "report_at": judging.report.at,
    }


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
    stored = await _standing(conn, vin, now)
    if stored is None or stored.reported_seq is None or stored.reported_at is None:
        return None
    report = Report(
        stored.reported, stored.reported_seq, stored.reported_at, stored.firmware, stored.model
    )
    judging = Judging(vin, report, now, settings)
    await judge(conn, judging)
    return judging


async def to_look_at(
    conn: Connection, after: str, now: datetime, settings: WantedSettings, batch: int
) -> list[str]:
    """A page of vehicles, after the VIN ``after``, whose drift no report need come for."""
    row = {"after": after, "batch": batch, "asked_before": now - settings.ask_every}
    return [row.vin for row in await conn.all(_Vin, QUERIES["to_look_at"], row)]


async def note_changes(
    conn: Connection,
    judging: Judging,
    before: list[dict[str, Any]] | None,
    seq_before: int | None,
) -> None:
    """Put on record what others changed of what nothing is wanted of; nobody corrects it (S2).

    ``before``, ``seq_before``: of the report before; values None = they are those in the database.
    A parameter that a service switches counts only where no command was applied since the report
    before, for a service that is being bought is wanted only once it is proved.
    """
    standing = await _standing(conn, judging.vin, judging.now)
    if standing is None:
        return
    report = judging.report
    managed = frozenset(item.key for item in parse_wanted(standing.wanted_values))
    values = (
        standing.reported if before is None else msgspec.convert(before, list[ParameterSetting])
    )
    changes = rules.changed_by_others(values, report.values, managed)
    if changes and report.seq != seq_before:
        switched = await conn.all(_Parameter, QUERIES["switched"], {"model": standing.model})
        optional = {(row.module, row.parameter) for row in switched}
        changes = [change for change in changes if change.key not in optional]
    if not changes:
        return
    row = _row(judging, standing, msgspec.to_builtins(changes))
    limit = {"a_day": judging.settings.drifts_per_day, "day_ago": judging.now - timedelta(days=1)}
    judging.on_commit.append(metrics.DRIFTS.labels(rules.Cause.NOT_MANAGED.value).inc)
    if await conn.execute(QUERIES["note"], row | {"drift_id": new_id(), **limit}):
        log.warning("changed by others", vin=judging.vin, difference=row["difference"].obj)


async def prune(conn: Connection, before: datetime) -> int:
    """Forget drifts that were over ``before``; how many."""
    return await conn.execute(QUERIES["prune"], {"before": before})


async def count_drifting(conn: Connection) -> dict[str, int]:
    """Vehicles that drift now, by state."""
    rows = await conn.dicts(QUERIES["count_drifting"])
    return {row["state"]: row["vehicles"] for row in rows}
