"""A platform in miniature for the vehicle's tests: it signs commands and reads what comes back."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from joserfc.jwk import KeySet

from core.bus import Bus, Subscription
from core.clock import SystemClock
from core.contracts import jws
from core.contracts.bus import (
    Answer,
    Command,
    CommandKind,
    DisplayLevel,
    ParameterSetting,
    ParameterValue,
    PresenceMessage,
    ReportedConfig,
    SafeState,
    Stored,
    TelemetryBatch,
    VehicleEvent,
    VehicleStatus,
    decode,
    encode,
)
from core.contracts.topics import Topic, filter_of, parse_topic, topic_of
from core.ids import new_id
from core.settings import load
from vehicle_sim.firmware import firmware_of, seed_catalogue
from vehicle_sim.keys import KeyRing
from vehicle_sim.settings import SimSettings
from vehicle_sim.tally import Tally
from vehicle_sim.vehicle import OpenBus, Vehicle, World

VIN = "VF1AURRA000000017"
PREFIX = "caas/v1/vehicles"
NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
DEADLINE_S = 15.0
KEY = jws.new_signing_key()
KEYS = KeySet([KEY])

BOOST = ("ENGINE_CONTROL.power_mode", "HIGH")
BOOST_OFF = ("ENGINE_CONTROL.power_mode", "NORMAL")

T = TypeVar("T", bound=msgspec.Struct)
KINDS: dict[Topic, type[msgspec.Struct]] = {
    Topic.ANSWER: Answer,
    Topic.CONFIG: ReportedConfig,
    Topic.STATUS: VehicleStatus,
    Topic.TELEMETRY: TelemetryBatch,
    Topic.EVENT: VehicleEvent,
    Topic.PRESENCE: PresenceMessage,
}


def settings_of(*pairs: tuple[str, ParameterValue]) -> list[ParameterSetting]:
    """``MODULE.parameter`` and value, as BUS writes them."""
    named = [(key.partition("."), value) for key, value in pairs]
    return [ParameterSetting(module, parameter, value) for (module, _, parameter), value in named]


def command(
    seq: int,
    *values: tuple[str, ParameterValue],
    kind: CommandKind = CommandKind.CONFIGURE,
    vin: str = VIN,
    now: datetime = NOW,
    expires_in_s: float = 300,
    command_id: UUID | None = None,
    safe_state: SafeState = SafeState.ANY,
    valid_until: datetime | None = None,
    revert: Sequence[tuple[str, ParameterValue]] = (),
    text: str | msgspec.UnsetType = msgspec.UNSET,
) -> Command:
    return Command(
        vin=vin,
        command_id=command_id or new_id(),
        seq=seq,
        kind=kind,
        issued_at=now,
        expires_at=now + timedelta(seconds=expires_in_s),
        values=settings_of(*values),
        safe_state=safe_state,
        valid_until=valid_until,
        revert_values=settings_of(*revert),
        text=text,
        level=DisplayLevel.INFO if isinstance(text, str) else msgspec.UNSET,
    )


def signed(wanted: Command) -> bytes:
    return jws.sign(wanted, KEY)


def live(wanted: Command) -> Command:
    """A command of this moment instead of the tests' fixed one."""
    shift = datetime.now(UTC) - wanted.issued_at
    until = wanted.valid_until
    return msgspec.structs.replace(
        wanted,
        issued_at=wanted.issued_at + shift,
        expires_at=wanted.expires_at + shift,
        valid_until=until + shift if until else None,
    )


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Return once ``condition`` holds; an AssertionError that says ``what`` after a while."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        await asyncio.sleep(0.01)


@dataclass
class Platform:
    """What the platform has heard from one vehicle, in order, and a voice to answer with."""

    vin: str
    ear: Bus  # reads everything upward, writes ``stored``
    mouth: Bus  # writes ``cmd``
    heard: list[tuple[Topic, Any]] = field(default_factory=list[tuple[Topic, Any]])

    async def listen(self) -> None:
        async for message in self.ear.messages():
            named = parse_topic(PREFIX, message.topic)
            assert named is not None
            vin, topic = named
            if vin == self.vin:
                self.heard.append((topic, decode(KINDS[topic], message.payload)))
            self.ear.ack(message)

    def of(self, kind: type[T]) -> list[T]:
        return [message for _, message in self.heard if isinstance(message, kind)]

    def answers_to(self, wanted: Command) -> list[Answer]:
        return [a for a in self.of(Answer) if a.command_id == wanted.command_id]

    async def expect(self, kind: type[T], holds: Callable[[T], bool], what: str) -> T:
        """The first message of ``kind`` that holds, waiting for it."""
        await eventually(lambda: any(holds(m) for m in self.of(kind)), what)
        return next(m for m in self.of(kind) if holds(m))

    async def command(self, wanted: Command) -> Answer:
        """Send a command of this moment, for this vehicle, and wait for its answer."""
        wanted = live(msgspec.structs.replace(wanted, vin=self.vin))
        await self.say(Topic.CMD, signed(wanted))
        return await self.expect(
            Answer, lambda a: a.command_id == wanted.command_id, f"answer to {wanted.kind}"
        )

    async def say(self, topic: Topic, payload: bytes) -> None:
        bus = self.mouth if topic is Topic.CMD else self.ear
        await bus.publish(topic_of(PREFIX, self.vin, topic), payload)

    async def store(self, boot: int, n: int, missing: Sequence[int] = ()) -> None:
        await self.say(Topic.STORED, encode(Stored(boot, n, list(missing))))


UPWARD_FILTERS = [Subscription(filter_of(PREFIX, topic)) for topic in KINDS]


@asynccontextmanager
async def platform_on(vin: str, ear: Bus, mouth: Bus) -> AsyncGenerator[Platform]:
    """A platform that hears one vehicle (``ear`` subscribes to ``UPWARD_FILTERS``)."""
    platform = Platform(vin, ear, mouth)
    await ear.start()
    await mouth.start()
    listening = asyncio.create_task(platform.listen())
    try:
        yield platform
    finally:
        await mouth.close()
        await ear.close()
        await asyncio.wait_for(listening, DEADLINE_S)


def sim_settings(folder: Path, **changes: Any) -> SimSettings:
    """Fast enough for a test: a sample and a batch every 50 ms unless told otherwise."""
    quick = {"running_s": 0.05, "parked_s": 0.05, "sample_s": 0.05, "link_confirm_s": 0.01}
    return load(SimSettings, **{"data_dir": folder, "drive_share": 0.0, **quick, **changes})


def world_of(settings: SimSettings, open_bus: OpenBus) -> World:
    async def fetch() -> KeySet:
        return KEYS

    return World(settings, PREFIX, open_bus, KeyRing(fetch), SystemClock(), Tally())


@asynccontextmanager
async def vehicle_on(world: World, vin: str, secret: str) -> AsyncGenerator[Vehicle]:
    """An AURORA that lives until the end of the block."""
    vehicle = Vehicle(vin, secret, firmware_of(seed_catalogue(), "AURORA"), world)
    life = asyncio.create_task(vehicle.run())
    try:
        yield vehicle
    finally:
        life.cancel()
        await asyncio.wait({life})
        if not life.cancelled() and (error := life.exception()) is not None:
            raise error
