"""The command log in the process: keeps each vehicle's last answer."""

from core.contracts.bus import Answer
from core.db import Connection, load_queries
from gateway.parts import Followed, Gateway, Part

QUERIES = load_queries("gateway.commands")


def part(_gateway: Gateway) -> Part:
    """The command log's part of the gateway."""
    return Part(followers=(save_answer,))


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
