"""Engine, gateway and one car's control unit on one database, with a clock to turn."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from core.bus import Message
from core.bus.memory import MemoryBroker, MemoryBus
from core.bus.start import BusHolder
from core.contracts import bus as wire
from core.contracts.bus import (
    Answer,
    Operational,
    ParameterSetting,
    ParameterValue,
    Presence,
    PresenceMessage,
    ReportedConfig,
    VehicleEvent,
)
from core.contracts.jobs import CorrectDrift
from core.contracts.topics import Topic, topic_of
from core.db import Database
from core.ids import new_id
from core.settings import BusSettings, DatabaseSettings, SigningSettings, load
from gateway.consumer import Consumer, subscriptions
from gateway.main import parts
from gateway.parts import Gateway
from gateway.settings import GatewaySettings, PresenceSettings
from gateway.wanted.part import look_once
from gateway.wanted.settings import WantedSettings
from tests.gateway.conftest import eventually
from tests.ota_engine.world import KEYS, PREFIX, VIN, World, open_world
from vehicle_sim.firmware import firmware_of, seed_catalogue
from vehicle_sim.state import UnitState
from vehicle_sim.unit import ControlUnit

CLIENT = "caas-gateway-0"
POWER = "ENGINE_CONTROL.power_mode"
OFF_ROAD = "TRACTION_CONTROL.off_road_mode"
SNOW = "TRACTION_CONTROL.snow_mode_available"
STREAMING = "INFOTAINMENT.premium_streaming"
# A service that may be switched while driving, beside the engine's own seed.
STREAMING_SEED = """
WITH service AS (
  INSERT INTO config.service (service_id, code, name, category, requires_maintenance)
  VALUES (gen_random_uuid(), 'PREMIUM_ENTERTAINMENT', 'Streaming', 'entertainment', false)
), mapping AS (
  INSERT INTO config.mapping (service_code, platform, settings, safe_state)
  VALUES ('PREMIUM_ENTERTAINMENT', 'AURORA', '[{"module":"INFOTAINMENT",
    "parameter":"premium_streaming","on_value":true,"off_value":false}]', 'ANY')
)
INSERT INTO config.capability (model, firmware_version, module, parameter, allowed)
VALUES ('AURORA', '2.4.1', 'INFOTAINMENT', 'premium_streaming', '[true, false]')
"""


@dataclass
class Car:
    """A real control unit; its line is this object."""

    world: "Chain"
    unit: ControlUnit
    line: bool = True
    operational: Operational = Operational.PARKED
    read: int = 0
    # What it reports beside its optional parameters, as a vehicle of another maker might.
    base: list[ParameterSetting] = field(default_factory=list[ParameterSetting])

    async def obey(self) -> None:
        """Take every command on the bus that was not read yet, while there is a line."""
        published = self.world.ota.bus.published
        while self.line and self.read < len(published):
            _topic, payload, _properties = published[self.read]
            self.read += 1
            await self.take(payload)

    async def take(self, payload: bytes) -> None:
        """React to the payload of a command."""
        now = self.world.ota.clock.now()
        reaction = self.unit.handle(payload, KEYS.verifier(), now, self.operational)
        for item in reaction.out:
            await self._say(item)

    async def time(self) -> None:
        """Let the unit see the time, as it does alone."""
        reaction = self.unit.tick(self.world.ota.clock.now(), self.operational)
        for item in reaction.out:
            if self.line:
                await self._say(item)

    async def report(self) -> None:
        """What it publishes at every connect."""
        await self._say(self.unit.config(self.world.ota.clock.now()))

    async def lose_line(self) -> None:
        self.line = False
        # Commands that wait in the broker expire there.
        await self.world.ota.sql(
            "UPDATE gateway.vehicle_state SET presence = 'OFFLINE' WHERE vin = %s", VIN
        )

    async def connect(self) -> None:
        """Back on the line: what waited is lost, then presence and configuration."""
        self.line = True
        self.read = len(self.world.ota.bus.published)
        now = self.world.ota.clock.now()
        await self._say(PresenceMessage(Presence.ONLINE, now, str(new_id()), 1))
        await self.report()

    def set_by_hand(self, key: str, value: ParameterValue) -> None:
        """A technician's tool writes it; no command, no number."""
        self.unit.state.values[key] = value

    def replace_unit(self, model: str = "AURORA") -> None:
        """A new unit from the shelf: factory values, and it has seen no command."""
        firmware = firmware_of(seed_catalogue(), model)
        self.unit = ControlUnit(VIN, firmware, UnitState())

    @property
    def values(self) -> dict[str, ParameterValue]:
        return self.unit.state.values

    async def _say(self, body: Answer | ReportedConfig | VehicleEvent | PresenceMessage) -> None:
        topic = {
            Answer: Topic.ANSWER,
            ReportedConfig: Topic.CONFIG,
            VehicleEvent: Topic.EVENT,
            PresenceMessage: Topic.PRESENCE,
        }[type(body)]
        if isinstance(body, ReportedConfig):
            body = msgspec.structs.replace(body, values=[*body.values, *self.base])
        await self.world.hear(topic, body)


@dataclass
class Chain:
    """Both rooms and the car."""

    ota: World
    room: Database
    broker: MemoryBroker
    mouth: MemoryBus
    gateway: Gateway
    settings: WantedSettings
    gateway_first: bool = True
    corrected: int = 0
    car: Car = field(init=False)

    def __post_init__(self) -> None:
        firmware = firmware_of(seed_catalogue(), "AURORA")
        self.car = Car(self, ControlUnit(VIN, firmware, UnitState()))

    async def hear(self, topic: Topic, body: msgspec.Struct) -> None:
        """A message reaches both rooms, in one order or the other."""
        rooms = [self._to_gateway, self._to_engine]
        for room in rooms if self.gateway_first else reversed(rooms):
            await room(topic, body)

    async def _to_gateway(self, topic: Topic, body: msgspec.Struct) -> None:
        await self.mouth.publish(topic_of(PREFIX, VIN, topic), wire.encode(body))
        session = self.broker._sessions[CLIENT]

        async def done() -> bool:
            return not session.unacked and not session.waiting

        await eventually(done, "the gateway has it")

    async def _to_engine(self, topic: Topic, body: msgspec.Struct) -> None:
        if topic is Topic.EVENT:
            return  # not the engine's
        await self.ota.inbox.take(Message(topic_of(PREFIX, VIN, topic), wire.encode(body)))
        await self.ota.settle()

    async def work(self) -> None:
        """Jobs, commands and answers, until nothing more happens."""
        for _ in range(20):
            before = (self.corrected, self.car.read)
            jobs = await self.ota.deferred("ota.correct_drift")
            for payload in jobs[self.corrected :]:
                self.corrected += 1
                await self.ota.do(CorrectDrift(VIN, UUID(payload["drift_id"])))
            await self.car.obey()
            if before == (self.corrected, self.car.read):
                return
        raise AssertionError("it finds no end")

    async def later(self, seconds: float) -> None:
        self.ota.clock.advance(seconds)
        await self.car.time()
        await self.ota.scan.keep_house()
        await self.ota.settle()
        await self.work()

    async def look(self) -> None:
        await look_once(self.gateway, self.settings)

    async def drifts(self) -> list[dict[str, Any]]:
        return await self.ota.sql("SELECT * FROM gateway.drift_v1 ORDER BY opened_at, drift_id")

    async def wanted(self) -> dict[str, Any]:
        rows = await self.ota.sql("SELECT * FROM gateway.wanted_v1 WHERE vin = %s", VIN)
        return {
            f"{item['module']}.{item['parameter']}": item["value"]
            for row in rows
            for item in row["wanted_values"]
        }

    async def version(self) -> int:
        [row] = await self.ota.sql("SELECT version FROM gateway.wanted WHERE vin = %s", VIN)
        return int(row["version"])

    async def want(self, *values: ParameterSetting, cause: str = "test") -> None:
        """As another door does it."""
        async with self.room.transaction() as conn:
            await conn.dicts(
                "SELECT * FROM gateway.want_v1(%(vin)s, %(values)s, %(cause)s, %(now)s)",
                {
                    "vin": VIN,
                    "values": msgspec.json.encode(values).decode(),
                    "cause": cause,
                    "now": self.ota.clock.now(),
                },
            )


@asynccontextmanager
async def chain(dsn: str, **settings: Any) -> AsyncGenerator[Chain]:
    """A chain whose car is enrolled, and has connected."""
    ota = await open_world(dsn, **settings)
    await ota.vehicle("OFFLINE")
    await ota.sql(STREAMING_SEED)
    room = Database(load(DatabaseSettings, dsn=dsn, set_role=True), role="caas_gateway")
    await room.open()
    broker = MemoryBroker()
    mouth = MemoryBus(broker, "vehicles")
    ear = MemoryBus(broker, CLIENT, subscriptions=subscriptions(PREFIX))
    await mouth.start()
    await ear.start()
    gateway = Gateway(room, ota.clock, BusHolder(), load(BusSettings), load(SigningSettings))
    made = parts(gateway, load(GatewaySettings), load(PresenceSettings))
    consumer = Consumer(
        room,
        ear,
        prefix=PREFIX,
        settings=load(GatewaySettings, seen_every_s=0.0, batch_wait_s=0.001),
        presence=load(PresenceSettings),
        clock=ota.clock,
        followers=[follower for part in made for follower in part.followers],
        batch_followers=[follower for part in made for follower in part.batch_followers],
        change_followers=[follower for part in made for follower in part.change_followers],
    )
    stop = asyncio.Event()
    running = asyncio.create_task(consumer.run(stop))
    world = Chain(ota, room, broker, mouth, gateway, load(WantedSettings))
    try:
        await world.car.connect()
        yield world
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)
        await ear.close()
        await mouth.close()
        await room.close()
        await ota.database.close()
