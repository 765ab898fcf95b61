"""What a control unit remembers over a reboot."""

from datetime import datetime

import msgspec

from core.contracts.bus import Answer, ParameterValue


class Timer(msgspec.Struct, frozen=True):
    """The promise to set ``values`` once ``at`` has come (and the car stands, if it must)."""

    at: datetime
    values: dict[str, ParameterValue]
    standing: bool


class Shown(msgspec.Struct, frozen=True):
    """A text on the screen."""

    at: datetime
    level: str
    text: str


class UnitState(msgspec.Struct):
    """What a unit remembers over a reboot."""

    boot: int = 0
    highest_seq: int = 0  # the highest one verified, whatever became of the command
    applied_seq: int = 0
    values: dict[str, ParameterValue] = {}
    answers: dict[str, Answer] = {}  # by command_id, oldest first
    timers: list[Timer] = []
    since: dict[str, datetime] = {}  # option → when it was switched on
    screen: list[Shown] = []


class Body(msgspec.Struct, frozen=True):
    """What of the car itself outlives a restart."""

    odometer_km: float
    route_km: float
    soc_pct: float | None = None
    fuel_pct: float | None = None
    # Somebody decided by hand that it drives (or stands); None = it roams by itself.
    driven: bool | None = None


class Saved(msgspec.Struct):
    """One vehicle's file."""

    unit: UnitState
    body: Body | None = None
