"""The vehicles of a fleet file, started one after the other and kept alive."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated

import msgspec

import core.log
from core.contracts.bus import Operational
from core.errors import DomainError, NotFound
from core.ids import is_vin
from vehicle_sim.firmware import Catalogue, Firmware, firmware_of, seed_catalogue
from vehicle_sim.tally import VEHICLES
from vehicle_sim.vehicle import Vehicle, World

log = core.log.get(__name__)

RESTART_S = 2.0


class VehicleSpec(msgspec.Struct, frozen=True):
    """One entry of the fleet file; unknown members are for others."""

    vin: str
    secret: Annotated[str, msgspec.Meta(min_length=1)]
    model: str
    firmware: str | None = None
    roams: bool | None = None  # None: by CAAS_SIM_DRIVE_SHARE


class BadFleetFile(DomainError):
    """The fleet file cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__("BAD_FLEET_FILE", message)


def read_fleet(text: bytes, catalogue: Catalogue) -> dict[str, VehicleSpec]:
    """VIN → entry; BadFleetFile says what is wrong, and nothing of the file is used."""
    try:
        specs = msgspec.json.decode(text, type=list[VehicleSpec])
    except msgspec.DecodeError as error:
        raise BadFleetFile(str(error)) from None
    fleet: dict[str, VehicleSpec] = {}
    for spec in specs:
        if not is_vin(spec.vin):
            raise BadFleetFile(f"{spec.vin!r} is no VIN")
        if spec.model not in catalogue.models:
            raise BadFleetFile(f"{spec.vin}: no model {spec.model}")
        if spec.vin in fleet:
            raise BadFleetFile(f"{spec.vin} is listed twice")
        fleet[spec.vin] = spec
    return fleet


class Fleet:
    """Follows the fleet file: new vehicles start, removed ones stop, changed ones start anew."""

    def __init__(self, world: World, catalogue: Catalogue | None = None) -> None:
        self._world = world
        self._catalogue = catalogue or seed_catalogue()
        self._specs: dict[str, VehicleSpec] = {}
        self._vehicles: dict[str, Vehicle] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stamp: tuple[int, int, int] | None = None
        self.problem: str | None = None

    def __iter__(self) -> Iterator[Vehicle]:
        return iter(list(self._vehicles.values()))

    def __len__(self) -> int:
        return len(self._vehicles)

    def vehicle(self, vin: str) -> Vehicle:
        """NotFound where the fleet has none of this VIN."""
        found = self._vehicles.get(vin)
        if found is None:
            raise NotFound("UNKNOWN_VIN", f"the fleet has no vehicle {vin}")
        return found

    def firmware(self, vin: str, model: str | None, version: str | None) -> Firmware:
        """The firmware of a unit for this vehicle; NotFound for an unknown VIN or model."""
        return firmware_of(self._catalogue, model or self.vehicle(vin).firmware.model, version)

    async def check(self) -> None:
        """Health: BadFleetFile while the file cannot be read."""
        if self.problem is not None:
            raise BadFleetFile(self.problem)

    async def run(self, stop: asyncio.Event) -> None:
        """Until ``stop``; then every vehicle says goodbye."""
        try:
            while not stop.is_set():
                await self._follow(stop)
                self._count()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._world.settings.fleet_poll_s):
                        await stop.wait()
        finally:
            await self._stop(list(self._tasks))

    async def _follow(self, stop: asyncio.Event) -> None:
        wanted = self._read_if_changed(self._world.settings.fleet_file)
        if wanted is None:
            return
        changed = [vin for vin, spec in self._specs.items() if wanted.get(vin) != spec]
        await self._stop(changed)
        for vin, spec in wanted.items():
            if vin not in self._tasks and not stop.is_set():
                self._start(spec)
                await asyncio.sleep(self._world.settings.stagger_s)

    def _read_if_changed(self, file: Path) -> dict[str, VehicleSpec] | None:
        try:
            found = file.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            wanted = read_fleet(file.read_bytes(), self._catalogue)
        except FileNotFoundError:
            return None  # Not yet enrolled anybody.
        except (OSError, BadFleetFile) as error:
            self.problem = f"{file}: {error}"
            log.warning("fleet_file_unusable", file=str(file), error=str(error))
            return None
        self.problem = None
        return wanted

    def _start(self, spec: VehicleSpec) -> None:
        firmware = firmware_of(self._catalogue, spec.model, spec.firmware)
        vehicle = Vehicle(spec.vin, spec.secret, firmware, self._world, roams=self._roams(spec))
        self._specs[spec.vin] = spec
        self._vehicles[spec.vin] = vehicle
        self._tasks[spec.vin] = asyncio.create_task(_keep_alive(vehicle), name=spec.vin)

    def _roams(self, spec: VehicleSpec) -> bool:
        if spec.roams is not None:
            return spec.roams
        settings = self._world.settings
        # Its own dice, so that it does not depend on the order of the file.
        return Random(f"roams:{settings.seed}:{spec.vin}").random() < settings.drive_share  # noqa: S311 - a simulation, not a secret

    async def _stop(self, vins: list[str]) -> None:
        tasks = [self._tasks.pop(vin) for vin in vins]
        for vin in vins:
            del self._vehicles[vin], self._specs[vin]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _count(self) -> None:
        VEHICLES.labels("total").set(len(self._vehicles))
        VEHICLES.labels("connected").set(sum(v.connected for v in self))
        VEHICLES.labels("driving").set(sum(v.operational is Operational.RUNNING for v in self))


async def _keep_alive(vehicle: Vehicle) -> None:
    while True:
        try:
            await vehicle.run()
        except Exception:
            # A defect in one car must not stop the others; it comes back as after a reboot.
            log.exception("vehicle_failed", vin=vehicle.vin)
            await asyncio.sleep(RESTART_S)
