"""The command log in the process: keeps each vehicle's last answer, and makes checkpoints."""

import asyncio
import contextlib

import core.log
from core.contracts.bus import Answer
from core.db import Connection
from core.errors import DomainError
from gateway.commands.audit import QUERIES, checkpoint
from gateway.parts import Followed, Gateway, Part

log = core.log.get(__name__)


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

    return Part(loops=(keep_checkpoints,), followers=(save_answer,))


async def save_answer(conn: Connection, followed: Followed) -> None:
    """Put an answer at its command's row."""
    answer = followed.body
    if not isinstance(answer, Answer) or answer.command_id is None:
        return  # the vehicle could not read which command: the log has no row to put it at
    await conn.execute(
        QUERIES["save_answer"],
        {
            "vin": followed.vin,
            "command_id": answer.command_id,
            "result": answer.result.value,
            "reason": None if answer.reason is None else answer.reason.value,
            "at": answer.at,
        },
    )
