"""The states of a command of either door (DOMAIN 7), and what the log keeps of it."""

from enum import StrEnum
from typing import Any

import msgspec

from core.contracts.bus import Command
from core.contracts.states import CommandState as C
from core.machine import Machine


class CommandEvent(StrEnum):
    """What can happen to a command."""

    PUBLISHED = "PUBLISHED"
    PROVEN = "PROVEN"  # of a query or a text: answered
    FAILED = "FAILED"  # rejected, expired, or its time is over


COMMAND: Machine[C, CommandEvent] = Machine(
    "command",
    [
        (C.QUEUED, CommandEvent.PUBLISHED, C.IN_PROGRESS),
        (C.IN_PROGRESS, CommandEvent.PROVEN, C.COMPLETED),
        (C.IN_PROGRESS, CommandEvent.FAILED, C.FAILED),
        # The car can be faster than our note that the broker confirmed, and a crash can come
        # between the two: the command is out although its row says QUEUED.
        (C.QUEUED, CommandEvent.PROVEN, C.COMPLETED),
        (C.QUEUED, CommandEvent.FAILED, C.FAILED),
    ],
    initial=C.QUEUED,
    final=(C.COMPLETED, C.FAILED),
)


def content_of(command: Command) -> dict[str, Any]:
    """What the command log keeps as the content: all but what the log has in columns of its own."""
    body: dict[str, Any] = msgspec.to_builtins(command)
    return {key: value for key, value in body.items() if key not in ("seq", "vin", "command_id")}
