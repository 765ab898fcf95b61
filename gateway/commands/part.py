"""The command log in the process: keeps each vehicle's last answer, and makes checkpoints."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

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
    place: int  # in what was asked for
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

    return Part(loops=(keep_checkpoints,), batch_followers=(save_answers, time_reports))


async def save_answers(conn: Connection, batch: Sequence[Followed]) -> None:
    """Put the answers beside their commands' rows, in order, and count them."""
    waves: list[dict[UUID, tuple[Followed, Answer]]] = []
    for followed in batch:
        answer = followed.body
        if not isinstance(answer, Answer):
            continue
        if answer.reason is not None and answer.reason in SUSPICIOUS and not followed.retained:
            followed.on_commit.append(metrics.SIGNATURE_FAILURES.labels(answer.reason.value).inc)
        if answer.command_id is None:
            continue  # the vehicle could not read which: the log has no row to put it at
        # A statement writes a row once, so a command's second answer goes into the next one.
        wave = next((wave for wave in waves if answer.command_id not in wave), None)
        if wave is None:
            waves.append(wave := {})
        wave[answer.command_id] = (followed, answer)
    for wave in waves:
        await _save_wave(conn, list(wave.values()))


async def _save_wave(conn: Connection, wave: Sequence[tuple[Followed, Answer]]) -> None:
    answers = [answer for _, answer in wave]
    commands = await conn.all(
        _Command,
        QUERIES["save_answers"],
        {
            "ids": [answer.command_id for answer in answers],
            "vins": [followed.vin for followed, _ in wave],
            "results": [answer.result.value for answer in answers],
            "reasons": [None if a.reason is None else a.reason.value for a in answers],
            "ats": [answer.at for answer in answers],
        },
    )
    for command in commands:
        followed, answer = wave[command.place]
        if command.result_before == answer.result:
            continue  # the same again (BUS: a known id repeats its answer)
        reason = answer.reason.value if answer.reason else ""
        followed.on_commit.append(
            metrics.ANSWERS.labels(command.kind, answer.result.value, reason).inc
        )
        if answer.result in TAKEN and command.result_before not in TAKEN:
            _observe(metrics.ANSWER_SECONDS, command, followed)


async def time_reports(conn: Connection, batch: Sequence[Followed]) -> None:
    """Time the first configuration that shows a CONFIGURE."""
    # Not those at each connect, nor after a switch-off by the vehicle itself.
    new = [
        (followed, followed.body.seq)
        for followed in batch
        if isinstance(followed.body, ReportedConfig)
        and not followed.retained
        and followed.body.seq > (followed.before.reported_seq or 0)
    ]
    if not new:
        return
    commands = await conn.all(
        _Command,
        QUERIES["commands_of_reports"],
        {"vins": [followed.vin for followed, _ in new], "seqs": [seq for _, seq in new]},
    )
    for command in commands:
        if command.kind == "CONFIGURE":
            _observe(metrics.CONFIG_SECONDS, command, new[command.place][0])


def _observe(histogram: Histogram, command: _Command, followed: Followed) -> None:
    seconds = max(0.0, (followed.now - command.admitted_at).total_seconds())
    followed.on_commit.append(lambda: histogram.observe(seconds))
