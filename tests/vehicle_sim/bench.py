"""A control unit on the bench: made, asked and read by the tests of the unit and its faults."""

from collections.abc import Sequence
from random import Random

from core.contracts.bus import (
    Answer,
    EventType,
    Operational,
    ReportedConfig,
    VehicleEvent,
)
from tests.vehicle_sim.harness import (
    VIN,
)
from vehicle_sim.faults import Fault, FaultSet
from vehicle_sim.firmware import Firmware, firmware_of, seed_catalogue
from vehicle_sim.state import UnitState
from vehicle_sim.unit import ControlUnit, Reaction

PARKED, RUNNING = Operational.PARKED, Operational.RUNNING
CLIMATE = ("HVAC.climate_zones", 4)
OFF_ROAD = ("TRACTION_CONTROL.off_road_mode", True)
SNOW = ("TRACTION_CONTROL.snow_mode_available", 1)


def unit(
    model: str = "AURORA",
    *,
    firmware: Firmware | None = None,
    faults: Sequence[Fault] = (),
    state: UnitState | None = None,
) -> ControlUnit:
    return ControlUnit(
        VIN,
        firmware or firmware_of(seed_catalogue(), model),
        state or UnitState(),
        FaultSet(faults, Random(0)),
    )


def only_answer(reaction: Reaction) -> Answer:
    answers = [item for item in reaction.out if isinstance(item, Answer)]
    assert len(answers) == 1
    return answers[0]


def configs(reaction: Reaction) -> list[ReportedConfig]:
    return [item for item in reaction.out if isinstance(item, ReportedConfig)]


def events(reaction: Reaction) -> list[tuple[EventType, str | None]]:
    return [(i.type, i.code) for i in reaction.out if isinstance(i, VehicleEvent)]


def values_of(config: ReportedConfig) -> dict[str, object]:
    return {f"{item.module}.{item.parameter}": item.value for item in config.values}
