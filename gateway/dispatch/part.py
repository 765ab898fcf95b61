"""The gateway's own commands in the process: published, followed, and failed when too late."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial

import core.log
from core.contracts.bus import Answer, ReportedConfig
from core.db import Connection
from core.errors import DomainError
from gateway.dispatch import service
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.metrics import ENDED
from gateway.dispatch.service import Ended, OnEnd
from gateway.dispatch.settings import DispatchSettings
from gateway.parts import Followed, Gateway, Part

log = core.log.get(__name__)


def part(gateway: Gateway, settings: DispatchSettings, on_end: Sequence[OnEnd] = ()) -> Part:
    """The commands' part of the gateway; ``on_end`` hears of each command that is over."""

    async def follow(conn: Connection, followed: Followed) -> None:
        body = followed.body
        if isinstance(body, Answer):
            ended = await service.take_answer(conn, followed.vin, body, followed.now)
        elif isinstance(body, ReportedConfig):
            ended = await service.take_report(conn, followed.vin, body, followed.now)
        else:
            return
        await _tell(conn, ended, on_end)
        followed.on_commit.extend(counts(ended))

    async def end_overdue(stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await _ask(gateway, settings)
                async with gateway.database.transaction() as conn:
                    ended = await service.end_overdue(conn, gateway.clock.now(), settings.batch)
                    await _tell(conn, ended, on_end)
                for count in counts(ended):
                    count()
                if len(ended) == settings.batch:
                    continue
            except DomainError as error:
                log.warning("the look for late commands failed", error=str(error))
            except Exception:
                log.exception("the look for late commands failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), settings.poll_s)

    return Part(loops=(Dispatcher(gateway, settings).run, end_overdue), followers=(follow,))


async def _ask(gateway: Gateway, settings: DispatchSettings) -> None:
    async with gateway.database.transaction() as conn:
        now = gateway.clock.now()
        await service.ask_unanswered(conn, now, settings.query_lead_s, settings.batch)


def counts(ended: Sequence[Ended]) -> list[Callable[[], None]]:
    """What is counted once the transaction is committed."""
    return [partial(ENDED.labels(item.state, item.error_code or "").inc) for item in ended]


async def _tell(conn: Connection, ended: Sequence[Ended], on_end: Sequence[OnEnd]) -> None:
    if ended:
        for tell in on_end:
            await tell(conn, ended)
