"""The wanted configuration in the process: every report is compared once, drifts are watched."""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import timedelta

import core.log
from core.contracts.bus import ReportedConfig
from core.contracts.states import CommandState
from core.db import Connection
from core.errors import DomainError
from gateway.dispatch.service import Ended
from gateway.parts import BatchFollower, Followed, Gateway, Part
from gateway.wanted import document, metrics, service
from gateway.wanted.rules import DriftState, Report
from gateway.wanted.service import Judging
from gateway.wanted.settings import WantedSettings

log = core.log.get(__name__)

_BATCH = 200


def part(gateway: Gateway, settings: WantedSettings) -> Part:
    """The wanted configuration's part of the gateway."""

    async def look(stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await look_once(gateway, settings)
            except DomainError as error:
                log.warning("drifts not looked at", error=str(error))
            except Exception:
                log.exception("drifts not looked at")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), settings.look_every_s)

    return Part(loops=(look,), batch_followers=(follower(settings),))


def follower(settings: WantedSettings) -> BatchFollower:
    """Judges the last report of each vehicle in a batch."""

    async def follow(conn: Connection, batch: Sequence[Followed]) -> None:
        last: dict[str, Followed] = {}
        for followed in batch:
            if _is_news(followed):
                last[followed.vin] = followed
                await _compare(conn, followed, settings)
        for followed in last.values():
            await _look_at(conn, followed, settings)

    return follow


def _is_news(followed: Followed) -> bool:
    """A report that was taken as the vehicle's latest."""
    body, after = followed.body, followed.after
    return (
        isinstance(body, ReportedConfig)
        and after.new_values is not None
        and (after.reported_at, after.reported_seq) == (body.at, body.seq)
    )


async def _compare(conn: Connection, followed: Followed, settings: WantedSettings) -> None:
    """With the report before: by the digest, and closer only where that differs."""
    before = followed.before
    if before.reported_digest not in (None, followed.after.reported_digest):
        judging = _judging(followed, settings)
        await service.note_changes(conn, judging, before.new_values, before.reported_seq)


def _judging(followed: Followed, settings: WantedSettings) -> Judging:
    body = followed.body
    assert isinstance(body, ReportedConfig)
    report = Report(body.values, body.seq, body.at, body.firmware, body.model)
    return Judging(followed.vin, report, followed.now, settings, followed.on_commit)


async def _look_at(conn: Connection, followed: Followed, settings: WantedSettings) -> None:
    """With what is wanted: by the digest, and closer only where that is not as last in step."""
    body, after = followed.body, followed.after
    assert isinstance(body, ReportedConfig)
    if not after.wanted_version or followed.retained:
        return  # nothing is wanted of it; a retained report says what was
    same = (
        body.model == after.model
        and (after.reported_digest, after.wanted_version)
        == (after.in_step_digest, after.in_step_version)
        and (after.in_step_until is None or followed.now < after.in_step_until)
    )
    outcome = "same"
    if not same:
        looked_at = await service.judge(conn, _judging(followed, settings))
        outcome = "looked_at" if looked_at else "too_old"
    followed.on_commit.append(metrics.REPORTS_COMPARED.labels(outcome).inc)


async def look_once(gateway: Gateway, settings: WantedSettings) -> None:
    """Judge anew the drifts that no report need come for, prune old ones, set the gauges."""
    now, after = gateway.clock.now(), ""
    while True:
        async with gateway.database.transaction() as conn:
            vins = await service.to_look_at(conn, after, now, settings, _BATCH)
        if not vins:
            break
        for vin in vins:
            async with gateway.database.transaction() as conn:
                judging = await service.judge_again(conn, vin, now, settings)
            for count in [] if judging is None else judging.on_commit:
                count()
        after = vins[-1]
    async with gateway.database.transaction() as conn:
        await service.prune(conn, now - timedelta(days=settings.keep_days))
        drifting = await service.count_drifting(conn)
    for state in DriftState:
        if state is not DriftState.CLOSED:
            metrics.DRIFTING.labels(state.value).set(drifting.get(state.value, 0))


async def take_over(conn: Connection, ended: Sequence[Ended]) -> None:
    """What the IoT API had set, and the vehicle proved, is wanted from then on."""
    done = [command for command in ended if command.state == CommandState.COMPLETED.value]
    if done:
        ids = [command.command_id for command in done]
        await document.take_over(conn, ids, max(command.completed_at for command in done))
