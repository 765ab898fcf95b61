"""How a service ends: whatever happens, in bounded time, and with the reason said.

Cancelling a task once is not enough. psycopg's pool workers take a cancellation for a failed
connection and go on, and before Python 3.12 ``asyncio.wait_for`` (which the pool waits with) loses
one that arrives together with what it waited for. ``asyncio.run`` cancels once and then waits for
ever: a service whose main has failed looks alive, says nothing, and hears no signal.
"""

import asyncio
import io
from collections.abc import Iterable
from typing import Any

import core.log

log = core.log.get(__name__)

_ROUNDS = 5


async def cancel_until_done(
    tasks: Iterable[asyncio.Task[Any]], *, again_s: float = 1.0, rounds: int = _ROUNDS
) -> set[asyncio.Task[Any]]:
    """Cancel each task until it ends, again after ``again_s``; those that never did.

    What they raise is theirs: nothing is raised here.
    """
    pending = {task for task in tasks if not task.done()}
    for _ in range(rounds):
        if not pending:
            break
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=again_s)
    return pending


async def end_leftovers(*, again_s: float = 1.0) -> bool:
    """End every other task of the running loop; False, and a line in the log, where one stays."""
    mine = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not mine]
    stuck = await cancel_until_done(others, again_s=again_s)
    for task in stuck:
        log.error("a task does not end", task=task.get_name(), stack=_stack_of(task))
    return not stuck


def _stack_of(task: asyncio.Task[Any]) -> str:
    text = io.StringIO()
    task.print_stack(limit=8, file=text)
    return text.getvalue()
