"""The states of a command (DOMAIN 7, Command states)."""

from enum import StrEnum

from core.contracts.states import CommandState as C
from core.machine import Machine


class CommandEvent(StrEnum):
    """What can happen to a command."""

    PUBLISHED = "PUBLISHED"
    PROVEN = "PROVEN"  # the reported configuration matches; of a query: answered
    REFUSED = "REFUSED"  # by the vehicle
    TIME_OVER = "TIME_OVER"


COMMAND: Machine[C, CommandEvent] = Machine(
    "command",
    [
        (C.QUEUED, CommandEvent.PUBLISHED, C.IN_PROGRESS),
        (C.IN_PROGRESS, CommandEvent.PROVEN, C.COMPLETED),
        (C.IN_PROGRESS, CommandEvent.REFUSED, C.FAILED),
        (C.IN_PROGRESS, CommandEvent.TIME_OVER, C.FAILED),
        # The vehicle can be faster than our note that the broker confirmed.
        (C.QUEUED, CommandEvent.PROVEN, C.COMPLETED),
        (C.QUEUED, CommandEvent.REFUSED, C.FAILED),
        (C.QUEUED, CommandEvent.TIME_OVER, C.FAILED),
    ],
    initial=C.QUEUED,
    final=(C.COMPLETED, C.FAILED),
)
