"""What a concern of the gateway brings along, and what it is given; ``main`` composes them."""

from asyncio import Event
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from fastapi import APIRouter, FastAPI

from core.bus.start import BusHolder
from core.clock import Clock
from core.contracts.bus import (
    Answer,
    PresenceMessage,
    ReportedConfig,
    VehicleEvent,
    VehicleStatus,
)
from core.contracts.jobs import Job
from core.db import Connection, Database
from core.jobs import Handler
from core.settings import BusSettings, SigningSettings
from gateway.state import VehicleState

Body = Answer | PresenceMessage | ReportedConfig | VehicleEvent | VehicleStatus
Loop = Callable[[Event], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Gateway:
    """What every part shares. The bus is there once it is connected: ``bus.bus``."""

    database: Database
    clock: Clock
    bus: BusHolder
    bus_settings: BusSettings
    signing: SigningSettings


@dataclass(slots=True)
class Followed:
    """A usable message of an enrolled vehicle, inside the transaction that follows it.

    ``before`` and ``after``: the vehicle's state around it. ``on_commit``: called once the
    transaction is committed, never where it is rolled back; the place to count.
    """

    vin: str
    body: Body
    retained: bool
    before: VehicleState
    after: VehicleState
    now: datetime
    on_commit: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


class Follower(Protocol):
    """Does its part about each message, in the order of arrival and in the batch's transaction."""

    async def __call__(self, conn: Connection, followed: Followed) -> None: ...


class BatchFollower(Protocol):
    """Does its part about a whole batch at once, after the followers and in its transaction."""

    async def __call__(self, conn: Connection, batch: Sequence[Followed]) -> None: ...


@dataclass(frozen=True, slots=True)
class Changed:
    """A vehicle whose presence a batch changed, from its first message to its last."""

    before: VehicleState
    after: VehicleState
    now: datetime
    on_commit: list[Callable[[], None]]


class ChangeFollower(Protocol):
    """Does its part about the changes of presence of a batch, in its transaction.

    Unlike the other followers it also hears of what a bare sign of life changed.
    """

    async def __call__(self, conn: Connection, changes: Sequence[Changed]) -> None: ...


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A telemetry message as it came, not read: most of them nobody here wants."""

    vin: str
    payload: bytes


class TelemetryTaker(Protocol):
    """Takes the telemetry of the vehicles it wants, in the batch's transaction."""

    def wants(self, vin: str) -> bool: ...

    async def take(
        self,
        conn: Connection,
        messages: Sequence[Telemetry],
        now: datetime,
        on_commit: list[Callable[[], None]],
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Part:
    """One concern: its deferred jobs, routes, applications (path → one), loops, followers.

    A loop runs until the event is set.
    """

    jobs: Mapping[type[Job], Handler] = field(default_factory=dict[type[Job], Handler])
    routers: Sequence[APIRouter] = ()
    mounts: Mapping[str, FastAPI] = field(default_factory=dict[str, FastAPI])
    loops: Sequence[Loop] = ()
    followers: Sequence[Follower] = ()
    batch_followers: Sequence[BatchFollower] = ()
    change_followers: Sequence[ChangeFollower] = ()
    telemetry_takers: Sequence[TelemetryTaker] = ()
