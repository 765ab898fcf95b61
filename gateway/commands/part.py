"""The command log in the process: keeps each vehicle's last answer, and makes checkpoints."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Histogram

import core.log
from core.contracts.bus import Answer, Reason, ReportedConfig, Result
from core.db import Connection
from core.errors import DomainError
from gateway.commands import metrics
from gateway.commands.audit import QUERIES, checkpoint
from gateway.parts import Followed, Gateway, Part

log = core.log.get(__name__)

# What hints at forged, repeated or misdirected commands.
SUSPICIOUS = frozenset({Reason.BAD_SIGNATURE, Reason.REPLAYED, Reason.WRONG_VEHICLE})
TAKEN = frozenset({Result.ACCEPTED, Result.APPLIED})


@dataclass(frozen=True, slots=True)
class _Command:
    kind: str
    admitted_at: datetime
    result_before: str | None


def part(gateway: Gateway, checkpoint_every_s: float) -> Part:
    """The command log's part of the gateway."""

    async def keep_checkpoints(stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with gateway.database.transaction() as conn:
                    number = await checkpoint(conn, gateway.clock)
                if number is not None:
                    log.info("command log checkpoint", number=number)
            except DomainError as error:
                log.warning("no checkpoint of the command log", error=str(error))
            except Exception:
                log.exception("no checkpoint of the command log")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), checkpoint_every_s)

    return Part(loops=(keep_checkpoints,), followers=(save_answer, time_report))


async def save_answer(conn: Connection, followed: Followed) -> None:
    """Put an answer beside its command's row, and count it."""
    answer = followed.body
    if not isinstance(answer, Answer):
        return
    if answer.reason is not None and answer.reason in SUSPICIOUS and not followed.retained:
        followed.on_commit.append(metrics.SIGNATURE_FAILURES.labels(answer.reason.value).inc)
    if answer.command_id is None:
        return  # the vehicle could not read which command: the log has no row to put it at
    command = await conn.one_or_none(
        _Command,
        QUERIES["save_answer"],
        {
            "vin": followed.vin,
            "command_id": answer.command_id,
            "result": answer.result.value,
            "reason": None if answer.reason is None else answer.reason.value,
            "at": answer.at,
        },
    )
    if command is None or command.result_before == answer.result:
        return  # none of this vehicle's, or the same again (BUS: a known id repeats its answer)
    reason = answer.reason.value if answer.reason else ""
    followed.on_commit.append(metrics.ANSWERS.labels(command.kind, answer.result.value, reason).inc)
    if answer.result in TAKEN and command.result_before not in TAKEN:
        _observe(metrics.ANSWER_SECONDS, command, followed)


async def time_report(conn: Connection, followed: Followed) -> None:
    """Time the first configuration that shows a CONFIGURE."""
    config = followed.body
    if not isinstance(config, ReportedConfig) or followed.retained:
        return
    if config.seq <= (followed.before.reported_seq or 0):
        return  # as at each connect, and after a switch-off by the vehicle itself
    command = await conn.one_or_none(
        _Command, QUERIES["command_of_report"], {"vin": followed.vin, "seq": config.seq}
    )
    if command is not None and command.kind == "CONFIGURE":
        _observe(metrics.CONFIG_SECONDS, command, followed)


def _observe(histogram: Histogram, command: _Command, followed: Followed) -> None:
    seconds = max(0.0, (followed.now - command.admitted_at).total_seconds())
    followed.on_commit.append(lambda: histogram.observe(seconds))
