"""A vehicle on the bus: its unit, its body and its driver, connected as BUS.md describes it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import msgspec

import core.log
from core.bus import Bus, BusRefused, BusUnavailable, Message, OnConnect, PublishFailed, Will
from core.clock import Clock
from core.contracts.bus import (
    Answer,
    Operational,
    ParameterSetting,
    Presence,
    PresenceMessage,
    ReportedConfig,
    Sample,
    Stored,
    TelemetryBatch,
    Unusable,
    VehicleStatus,
    decode,
    encode,
)
from core.contracts.topics import Topic, parse_topic
from core.errors import Conflict
from core.ids import new_id
from vehicle_sim.buffer import Kept
from vehicle_sim.driver import Driver
from vehicle_sim.faults import Fault, FaultSet
from vehicle_sim.firmware import Firmware, Refused
from vehicle_sim.keys import KeyRing
from vehicle_sim.outgoing import Outgoing, wait_for
from vehicle_sim.physics import Car, Features
from vehicle_sim.settings import SimSettings
from vehicle_sim.state import Saved, UnitState
from vehicle_sim.store import VehicleStore
from vehicle_sim.tally import DROPPED, Tally
from vehicle_sim.unit import ControlUnit, Reaction

log = core.log.get(__name__)

MAX_SAMPLES = 500
REFUSED_WAIT_S = (0.5, 5.0)
GOODBYE_S = 2.0

# (VIN, secret, will, on_connect) → a bus subscribed to the vehicle's two downward topics.
OpenBus = Callable[[str, str, Callable[[], Will], OnConnect], Bus]


@dataclass(frozen=True)
class World:
    """What the vehicles of a fleet share."""

    settings: SimSettings
    prefix: str
    open_bus: OpenBus
    keys: KeyRing
    clock: Clock
    tally: Tally


class Vehicle:
    """One vehicle; ``run`` until cancelled. The other methods are a hand on it from outside."""

    def __init__(
        self, vin: str, secret: str, firmware: Firmware, world: World, *, roams: bool = False
    ) -> None:
        self.vin = vin
        self.firmware = firmware
        self._secret = secret
        self._world = world
        self._rng = Random(f"{world.settings.seed}:{vin}")  # noqa: S311 - a simulation, not a secret
        self._store = VehicleStore(world.settings.data_dir, vin)
        saved = self._store.load()
        self.car = Car(firmware.hardware, self._rng, body=saved.body)
        self.driver = Driver(self._rng, roams=roams)
        if saved.body is not None and saved.body.driven is not None:
            # The simulator was restarted, not the car: who drives goes on driving.
            self.driver.take_over(self.car, drive=saved.body.driven)
        self.unit = ControlUnit(
            vin, firmware, saved.unit, FaultSet(self._store.load_faults(), self._rng)
        )
        self.signal_pct = round(self._rng.uniform(55, 100))
        self.outgoing = Outgoing(
            world.prefix,
            vin,
            buffer=self._store.load_telemetry(world.settings.buffer_batches),
            resend_s=world.settings.resend_s,
            tally=world.tally,
            config=lambda: self.unit.config(world.clock.now()),
            status=self.status,
        )
        self._bus: Bus | None = None
        self._session = ""
        self._samples: list[Sample] = []
        self._n = 0
        self._cut = asyncio.Event()  # the line is to go down without a word
        self._poke = asyncio.Event()  # something changed for the body
        self._offline_until = 0.0
        self._reboots = False

    # A hand from outside

    @property
    def connected(self) -> bool:
        return self._bus is not None and self._bus.connected

    @property
    def operational(self) -> Operational:
        return self.car.state

    def drive(self) -> None:
        self.driver.take_over(self.car, drive=True)
        self._save()
        self._state_changed()

    def park(self) -> None:
        self.driver.take_over(self.car, drive=False)
        self._save()
        self._state_changed()

    def go_offline(self, seconds: float) -> None:
        """Lose the network for ``seconds``; the broker publishes the last will."""
        self._offline_until = asyncio.get_running_loop().time() + seconds
        self._cut.set()

    def reboot(self) -> None:
        """Restart the unit: what it remembers comes from its files."""
        self._reboots = True
        self._cut.set()

    def set_faults(self, faults: list[Fault]) -> None:
        self._store.save_faults(faults)
        self.unit.faults = FaultSet(faults, self._rng)

    def set_values(self, settings: list[ParameterSetting]) -> None:
        """A technician's tool sets values past every command; Conflict: the firmware refuses."""
        try:
            self._react(self.unit.set_by_hand(settings, self._world.clock.now()))
        except Refused as refused:
            raise Conflict(refused.reason.value, refused.detail) from None

    def replace_unit(self, firmware: Firmware) -> None:
        """Another unit, fresh from the shelf: factory values, no command seen, first boot."""
        self.firmware = firmware
        self._store.save(Saved(UnitState(), self.car.body))
        self.unit = ControlUnit(self.vin, firmware, UnitState(), self.unit.faults)
        self.reboot()

    # Its life

    async def run(self) -> None:
        """Live and stay connected; ends only by cancellation, in order and with a goodbye."""
        self._boot()
        async with asyncio.TaskGroup() as life:
            life.create_task(self._live())
            life.create_task(self._stay_connected())

    def _boot(self) -> None:
        faults = self.unit.faults
        saved = self._store.load()
        self.unit = ControlUnit(self.vin, self.firmware, saved.unit, faults)
        self._reboots = False
        self._n = 0
        self._samples.clear()
        self._react(self.unit.boot(self._world.clock.now()))

    async def _live(self) -> None:
        """The body: drive, sense, switch off in time. Goes on without a network."""
        settings, loop = self._world.settings, asyncio.get_running_loop()
        last = next_sample = next_batch = loop.time()
        state = None
        while True:
            now = loop.time()
            self._pass_time((now - last) * settings.time_scale)
            last = now
            changed, state = state is not self.car.state, self.car.state
            running = state is Operational.RUNNING
            if now >= next_sample or changed:
                self._samples.append(self.car.sample(self._world.clock.now()))
                next_sample = now + (settings.sample_s if running else settings.parked_s)
            if now >= next_batch or changed or len(self._samples) >= MAX_SAMPLES:
                self._keep_batch()
                next_batch = now + (settings.running_s if running else settings.parked_s)
            if changed:
                self.outgoing.due(status=True)
            await wait_for(self._poke, self._pause(min(next_sample, next_batch) - now))

    def _pass_time(self, seconds: float) -> None:
        now = self._world.clock.now()
        self.driver.pass_time(self.car, seconds)
        self.car.advance(seconds, Features.of(self.unit.state.values))
        self._react(self.unit.tick(now, self.car.state))

    def _pause(self, until_sample_s: float) -> float:
        """Seconds to sleep: to the next sample, the next switch-off or the driver's next mood."""
        due = self.unit.next_timer
        pause = until_sample_s
        if due is not None:
            left_s = (due - self.unit.clock(self._world.clock.now())).total_seconds()
            # Overdue and not done means that the car must stand first; parking pokes.
            pause = min(pause, left_s) if left_s > 0 else pause
        if self.driver.roams:
            pause = min(pause, self._world.settings.sample_s)
        return max(0.01, pause)

    def _state_changed(self) -> None:
        self._poke.set()

    def _keep_batch(self) -> None:
        if not self._samples:
            return
        batch = TelemetryBatch(self.unit.state.boot, self._n, self._samples)
        self._samples = []
        self._n += 1
        kept = Kept(batch.boot, batch.n, encode(batch))
        dropped = self.outgoing.buffer.dropped
        self._store.append(kept)
        self.outgoing.buffer.add(kept)
        DROPPED.inc(self.outgoing.buffer.dropped - dropped)
        self._save()
        self.outgoing.telemetry_changed()

    def _save(self) -> None:
        body = msgspec.structs.replace(self.car.body, driven=self.driver.by_hand)
        self._store.save(Saved(self.unit.state, body))

    def _react(self, reaction: Reaction) -> None:
        """Take over what the unit did by itself: saved first, then sent when there is a line."""
        if not reaction.out and not reaction.status:
            return
        self._save()
        self.outgoing.add_events(reaction.out)
        self.outgoing.due(config=True, status=reaction.status)

    # The line

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._reboots:
                self._boot()
            while (left_s := self._offline_until - loop.time()) > 0 and not self._reboots:
                self._cut.clear()
                await wait_for(self._cut, left_s)
            if not self._reboots:
                await self._one_line()

    async def _one_line(self) -> None:
        """One client of the broker, over all its reconnections, until it is cut or we end."""
        self._cut.clear()
        bus = self._world.open_bus(self.vin, self._secret, self._new_will, self._greet)
        self._bus = bus
        talk = asyncio.create_task(self._talk(bus))
        cut = asyncio.create_task(self._cut.wait())
        try:
            await asyncio.wait({talk, cut}, return_when=asyncio.FIRST_COMPLETED)
            if talk.done():
                await talk  # a defect of ours surfaces here
        finally:
            in_order = not self._cut.is_set()
            for task in (talk, cut):
                task.cancel()
            await asyncio.wait({talk, cut})
            if in_order and bus.connected:
                await self._say_goodbye(bus)
            await bus.close(drop=not in_order)
            self._bus = None

    async def _talk(self, bus: Bus) -> None:
        try:
            await bus.start()
        except BusRefused as refused:
            # Perhaps the broker does not know this vehicle yet; the next line tries anew.
            log.info("vehicle_refused", vin=self.vin, reason=refused.reason)
            await asyncio.sleep(self._rng.uniform(*REFUSED_WAIT_S))
            return
        async with asyncio.TaskGroup() as both:
            both.create_task(self._listen(bus))
            both.create_task(self.outgoing.send(bus))

    def _new_will(self) -> Will:
        """Each connection is a session of its own, and its will says so (BUS, Presence)."""
        self._session = str(new_id())
        return Will(self.outgoing.topic(Topic.PRESENCE), encode(self._presence(Presence.OFFLINE)))

    def _presence(self, state: Presence) -> PresenceMessage:
        return PresenceMessage(
            state, self.unit.clock(self._world.clock.now()), self._session, self.unit.state.boot
        )

    async def _greet(self) -> None:
        bus = self._bus
        if bus is None:
            return
        await self.outgoing.deliver(bus, Topic.PRESENCE, self._presence(Presence.ONLINE))
        self.outgoing.new_connection()

    async def _say_goodbye(self, bus: Bus) -> None:
        payload = encode(self._presence(Presence.OFFLINE))
        try:
            await bus.publish(
                self.outgoing.topic(Topic.PRESENCE), payload, retain=True, timeout_s=GOODBYE_S
            )
        except (BusUnavailable, PublishFailed) as error:
            log.info("goodbye_not_said", vin=self.vin, error=str(error))

    # Hearing

    async def _listen(self, bus: Bus) -> None:
        async for message in bus.messages():
            named = parse_topic(self._world.prefix, message.topic)
            kind = named[1] if named else None
            if kind is Topic.CMD:
                if not await self._obey_safely(bus, message):
                    return  # Cut; the broker sends the rest again, in order.
            elif kind is Topic.STORED:
                self._take_receipt(message.payload)
            bus.ack(message)

    async def _obey_safely(self, bus: Bus, message: Message) -> bool:
        try:
            return await self._obey(bus, message.payload)
        except Exception:
            log.exception("command_failed", vin=self.vin)  # One bad message must not end a car.
            return True

    async def _obey(self, bus: Bus, payload: bytes) -> bool:
        """Handle, save, answer; whether the broker may then forget the command."""
        keys = await self._world.keys.for_command(payload)
        reaction = self.unit.handle(payload, keys, self._world.clock.now(), self.car.state)
        self._save()
        self._poke.set()  # a switch-off may be due earlier now
        if reaction.offline_s is not None:
            self.go_offline(reaction.offline_s)
        elif reaction.reboot:
            self.reboot()
        if not reaction.acknowledged:
            return False
        if reaction.delay_s:
            await asyncio.sleep(reaction.delay_s)
        for item in reaction.out:
            if isinstance(item, Answer):
                self._world.tally.count_answer(item)
                await self.outgoing.deliver(bus, Topic.ANSWER, item)
            elif isinstance(item, ReportedConfig):
                await self.outgoing.deliver(bus, Topic.CONFIG, item)
        self.outgoing.add_events(reaction.out)
        self.outgoing.due(status=reaction.status)
        if reaction.link_code is not None:
            self._confirm_later(reaction.link_code)
        return True

    def _confirm_later(self, code: str) -> None:
        def confirm() -> None:
            self.outgoing.add_events([self.unit.confirm_link(code, self._world.clock.now())])

        asyncio.get_running_loop().call_later(self._world.settings.link_confirm_s, confirm)

    def _take_receipt(self, payload: bytes) -> None:
        try:
            stored = decode(Stored, payload)
        except Unusable as error:
            log.warning("receipt_unusable", vin=self.vin, error=str(error))
            return
        if self.outgoing.buffer.receipt(stored):
            self._store.trim(self.outgoing.buffer)
            self.outgoing.telemetry_changed()

    # What it says of itself

    def status(self) -> VehicleStatus:
        """What the vehicle says of itself (BUS, VehicleStatus)."""
        place, car = self.car.place, self.car
        return VehicleStatus(
            at=self.unit.clock(self._world.clock.now()),
            operational=car.state,
            firmware=self.firmware.version,
            signal_pct=self.signal_pct,
            lat=round(place.lat, 6),
            lon=round(place.lon, 6),
            odometer_km=round(car.odometer_km, 3),
            soc_pct=None if car.soc_pct is None else round(car.soc_pct, 2),
            fuel_pct=None if car.fuel_pct is None else round(car.fuel_pct, 2),
            latency_ms=round(40 + (100 - self.signal_pct) * 2.5, 1),
            packet_loss_pct=round((100 - self.signal_pct) / 20, 2),
            active_services=self.unit.active_services(),
        )
