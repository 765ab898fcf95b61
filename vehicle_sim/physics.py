"""How a car moves, drinks and warms up: simple, believable, and the same for the same seed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random

from core.contracts.bus import Operational, ParameterValue, Sample
from vehicle_sim.firmware import EngineType, Model
from vehicle_sim.route import MADRID, Place, Route
from vehicle_sim.state import Body

AIR = 0.55  # drag area × half the air density, in kg/m
ROLLING = 0.011
GRAVITY = 9.81
EFFICIENCY = {EngineType.ELECTRIC: 0.9, EngineType.HYBRID: 0.42, EngineType.PETROL: 0.28}
CHARGER_KW = 50.0
CHARGED_PCT = 80.0
LONGEST_STEP_S = 5.0


@dataclass(frozen=True, slots=True)
class Features:
    """What the bought options change in how a car drives."""

    boost: bool = False
    autopilot: bool = False
    climate_zones: float = 1.0
    off_road: bool = False

    @classmethod
    def of(cls, values: Mapping[str, ParameterValue]) -> "Features":
        """From the unit's values; what a firmware does not have is off."""
        zones = values.get("HVAC.climate_zones", 1)
        return cls(
            boost=values.get("ENGINE_CONTROL.power_mode") == "HIGH",
            autopilot=values.get("ADAS.autonomous_highway_enabled") is True,
            climate_zones=float(zones) if isinstance(zones, int | float) else 1.0,
            off_road=values.get("TRACTION_CONTROL.off_road_mode") is True,
        )


class Car:
    """One car's body. ``advance`` is the only thing that moves it."""

    def __init__(
        self, model: Model, rng: Random, *, body: Body | None = None, route: Route = MADRID
    ) -> None:
        self._model = model
        self._rng = rng
        self._route = route
        self.state = Operational.PARKED
        self.speed_kmh = 0.0
        self.power_kw = 0.0
        self.odometer_km = round(rng.uniform(500, 40_000), 1)
        self.route_km = rng.uniform(0, route.length_km)
        self.soc_pct = rng.uniform(55, 95) if model.battery_kwh else None
        self.fuel_pct = rng.uniform(40, 95) if model.tank_kwh else None
        self.ambient_c = rng.uniform(8, 28)
        self.motor_temp_c = self.ambient_c
        self.battery_temp_c = self.ambient_c + 2
        self.battery_v = 12.6
        self._temper = rng.uniform(0.92, 1.06)  # how a driver takes a limit
        self._traffic = 1.0
        if body is not None:
            self.odometer_km, self.route_km = body.odometer_km, body.route_km
            self.soc_pct, self.fuel_pct = body.soc_pct, body.fuel_pct

    @property
    def body(self) -> Body:
        """What a restart of the simulator must not change."""
        return Body(self.odometer_km, self.route_km, self.soc_pct, self.fuel_pct)

    # What a driver does

    def drive(self) -> None:
        """Set off. An empty car stays where it is."""
        if self._reserve_pct() > 1.0:
            self.state = Operational.RUNNING

    def park(self, *, charge: bool = False) -> None:
        """Stop at once (a simulated street has room everywhere); plug in where there is a plug."""
        self.speed_kmh = self.power_kw = 0.0
        plug = charge and self._model.engine is EngineType.ELECTRIC
        self.state = Operational.CHARGING if plug else Operational.PARKED

    @property
    def place(self) -> Place:
        return self._route.at(self.route_km)

    @property
    def low(self) -> bool:
        return self._reserve_pct() < 20.0

    # What time does

    def advance(self, seconds: float, features: Features) -> None:
        """Let ``seconds`` pass, in steps small enough to look smooth."""
        while seconds > 0:
            step = min(seconds, LONGEST_STEP_S)
            seconds -= step
            if self.state is Operational.RUNNING:
                self._roll(step, features)
            elif self.state is Operational.CHARGING:
                self._charge(step)
            self._temperatures(step, features)

    def _roll(self, step: float, features: Features) -> None:
        target = self._target_kmh(features)
        push = 2.6 if features.boost else 1.7  # m/s²
        change = max(-2.5 * step, min(push * step, (target - self.speed_kmh) / 3.6))
        before = self.speed_kmh / 3.6
        after = max(0.0, before + change)
        self.speed_kmh = after * 3.6
        metres = (before + after) / 2 * step
        self.odometer_km += metres / 1000
        self.route_km = (self.route_km + metres / 1000) % self._route.length_km
        self.power_kw = self._power_kw(after, (after - before) / step, features)
        self._drain(self.power_kw * step / 3600)
        if self._reserve_pct() <= 0.5:
            self.park(charge=True)

    def _target_kmh(self, features: Features) -> float:
        limit = self.place.limit_kmh
        if features.autopilot and limit >= 90:
            return limit  # exactly, without a driver's mood
        self._traffic += self._rng.uniform(-0.05, 0.05) + (1.0 - self._traffic) * 0.1
        keen = 1.06 if features.boost else 1.0
        wanted = limit * self._temper * keen * max(0.3, min(1.1, self._traffic))
        return min(wanted, 60.0) if features.off_road else wanted

    def _power_kw(self, speed: float, acceleration: float, features: Features) -> float:
        resistance = self._model.mass_kg * GRAVITY * ROLLING + AIR * speed * speed
        if features.off_road:
            resistance *= 1.25
        at_wheels = (resistance + self._model.mass_kg * acceleration) * speed / 1000
        peak = self._model.power_kw * (1.5 if features.boost else 1.0)
        climate = 0.5 + 0.6 * features.climate_zones
        regenerated = -40.0 if self._model.battery_kwh else 0.0
        losses = 1.08 if features.boost else 1.0
        return round(max(regenerated, min(peak, at_wheels * losses)) + climate, 2)

    def _drain(self, kwh: float) -> None:
        used = kwh / EFFICIENCY.get(self._model.engine, 0.3) if kwh > 0 else kwh * 0.6
        if self.fuel_pct is not None:
            self.fuel_pct = _percent(self.fuel_pct - max(0.0, used) / self._model.tank_kwh * 100)
        if self.soc_pct is not None:
            # A hybrid's battery only buffers: it never falls far.
            share = 1.0 if self.fuel_pct is None else 0.15
            floor = 0.0 if self.fuel_pct is None else 20.0
            after = self.soc_pct - used * share / self._model.battery_kwh * 100
            self.soc_pct = _percent(max(floor, after))

    def _charge(self, step: float) -> None:
        if self.soc_pct is None:
            self.state = Operational.PARKED
            return
        taken = CHARGER_KW * step / 3600
        self.power_kw = -CHARGER_KW
        self.soc_pct = _percent(self.soc_pct + taken / self._model.battery_kwh * 100)
        if self.soc_pct >= CHARGED_PCT:
            self.park()

    def _temperatures(self, step: float, features: Features) -> None:
        effort = abs(self.power_kw)
        running = self.state is Operational.RUNNING
        motor = self.ambient_c + (25 + 0.6 * effort + (12 if features.boost else 0)) * running
        battery = self.ambient_c + 2 + 0.12 * effort
        self.motor_temp_c += (motor - self.motor_temp_c) * (1 - math.exp(-step / 240))
        self.battery_temp_c += (battery - self.battery_temp_c) * (1 - math.exp(-step / 900))
        self.battery_v = 14.1 if running else 12.6

    def _reserve_pct(self) -> float:
        if self.fuel_pct is not None:
            return self.fuel_pct
        return self.soc_pct if self.soc_pct is not None else 100.0

    # What sensors see

    def sample(self, at: datetime) -> Sample:
        """One telemetry sample (BUS, TelemetryBatch)."""
        place = self.place
        extra = {"tyre_fl_kpa": round(235 + (self.motor_temp_c - 20) * 0.15, 1)}
        if self.fuel_pct is not None:
            extra["fuel_pct"] = round(self.fuel_pct, 2)
        return Sample(
            t=int(at.timestamp() * 1000),
            speed_kmh=round(self.speed_kmh, 1),
            soc_pct=None if self.soc_pct is None else round(self.soc_pct, 2),
            odometer_km=round(self.odometer_km, 3),
            lat=round(place.lat, 6),
            lon=round(place.lon, 6),
            heading_deg=round(place.heading_deg, 1),
            battery_v=self.battery_v,
            battery_temp_c=round(self.battery_temp_c, 1),
            motor_temp_c=round(self.motor_temp_c, 1),
            ambient_c=round(self.ambient_c, 1),
            power_kw=self.power_kw,
            state=self.state,
            extra=extra,
        )


def _percent(value: float) -> float:
    return max(0.0, min(100.0, value))
