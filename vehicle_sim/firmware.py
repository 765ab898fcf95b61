"""What a vehicle's hardware and firmware can do: options, parameters, allowed values, safe states.

The data are in ``firmware.toml``; a model, an option or a conflict is added there, not here.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path

import msgspec

from core.contracts.bus import ParameterSetting, ParameterValue, Reason, SafeState
from core.errors import NotFound

SEED = Path(__file__).with_name("firmware.toml")


class EngineType(StrEnum):
    PETROL = "PETROL"
    DIESEL = "DIESEL"
    ELECTRIC = "ELECTRIC"
    HYBRID = "HYBRID"


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One optional parameter; ``key`` is its name in the digest of BUS."""

    module: str
    parameter: str
    on: ParameterValue
    off: ParameterValue
    allowed: list[ParameterValue]

    @property
    def key(self) -> str:
        return f"{self.module}.{self.parameter}"

    def canonical(self, value: ParameterValue) -> ParameterValue | None:
        """``value`` as the firmware holds it (JSON's 4.0 is 4, but true is not 1), or None."""
        for allowed in self.allowed:
            if isinstance(allowed, bool) == isinstance(value, bool) and allowed == value:
                return allowed
        return None


class Option(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A feature built in and switched by one or more parameters."""

    parameters: list[Parameter]
    safe_state: SafeState = SafeState.ANY
    since: str = "0"


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A platform: identical hardware, and the figures the physics needs."""

    engine: EngineType
    firmware: str
    options: list[str]
    mass_kg: float
    power_kw: float
    battery_kwh: float = 0.0
    tank_kwh: float = 0.0


class Conflict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings that must not stand at the same time."""

    settings: list[ParameterSetting]


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything in ``firmware.toml``."""

    models: dict[str, Model]
    options: dict[str, Option]
    conflicts: list[Conflict] = []


class Refused(Exception):
    """The firmware does not take a setting; ``reason`` as in BUS, Answer."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Firmware:
    """One model with one firmware version: what a control unit asks before it changes anything."""

    model: str
    version: str
    hardware: Model
    options: Mapping[str, Option]
    conflicts: tuple[Conflict, ...] = ()
    # Parameters that other models have: known by name, but without the hardware behind them.
    foreign: frozenset[str] = frozenset()
    parameters: Mapping[str, Parameter] = field(init=False)
    safe_states: Mapping[str, SafeState] = field(init=False)

    def __post_init__(self) -> None:
        pairs = [(p, option) for option in self.options.values() for p in option.parameters]
        object.__setattr__(self, "parameters", {p.key: p for p, _ in pairs})
        object.__setattr__(self, "safe_states", {p.key: option.safe_state for p, option in pairs})

    def base_values(self) -> dict[str, ParameterValue]:
        """The values of the base platform: every option off."""
        return {key: parameter.off for key, parameter in self.parameters.items()}

    def accept(self, settings: Iterable[ParameterSetting]) -> dict[str, ParameterValue]:
        """Key → value as the firmware holds it; Refused (UNKNOWN_PARAMETER, INVALID_VALUE, …)."""
        accepted: dict[str, ParameterValue] = {}
        for setting in settings:
            key = f"{setting.module}.{setting.parameter}"
            parameter = self.parameters.get(key)
            if parameter is None and key in self.foreign:
                raise Refused(Reason.INCOMPATIBLE, f"{self.model} has no hardware for {key}")
            if parameter is None:
                raise Refused(Reason.UNKNOWN_PARAMETER, f"firmware {self.version} has no {key}")
            value = parameter.canonical(setting.value)
            if value is None:
                raise Refused(Reason.INVALID_VALUE, f"{key} cannot be {setting.value!r}")
            if accepted.get(key, value) != value:
                raise Refused(Reason.INVALID_VALUE, f"{key} is given two values")
            accepted[key] = value
        return accepted

    def check_conflicts(self, values: Mapping[str, ParameterValue]) -> None:
        """Refused (CONFLICT) where ``values`` hold what must not stand together."""
        for conflict in self.conflicts:
            if all(values.get(f"{s.module}.{s.parameter}") == s.value for s in conflict.settings):
                names = " and ".join(f"{s.module}.{s.parameter}" for s in conflict.settings)
                raise Refused(Reason.CONFLICT, f"{names} exclude each other")

    def needs_standing(self, keys: Iterable[str]) -> bool:
        """True where one of the parameters may change only in a car that stands (DOMAIN 7)."""
        return any(self.safe_states.get(key) is SafeState.PARKED for key in keys)

    def is_on(self, key: str, value: ParameterValue) -> bool:
        """True where ``value`` is more than the base platform has."""
        return value != self.parameters[key].off


def parse_catalogue(text: str) -> Catalogue:
    """A catalogue from TOML; msgspec.ValidationError names what does not fit."""
    return msgspec.convert(tomllib.loads(text), Catalogue)


@cache
def seed_catalogue() -> Catalogue:
    """The models of DOMAIN 4."""
    return parse_catalogue(SEED.read_text(encoding="utf-8"))


def firmware_of(catalogue: Catalogue, model: str, version: str | None = None) -> Firmware:
    """The firmware of ``model`` in ``version`` (None: as delivered); NotFound for another model."""
    hardware = catalogue.models.get(model)
    if hardware is None:
        known = ", ".join(sorted(catalogue.models))
        raise NotFound("UNKNOWN_MODEL", f"no model {model}; the simulator knows {known}")
    version = version or hardware.firmware
    built_in = {name: catalogue.options[name] for name in hardware.options}
    built_in_keys = {p.key for option in built_in.values() for p in option.parameters}
    every_key = {p.key for option in catalogue.options.values() for p in option.parameters}
    return Firmware(
        model=model,
        version=version,
        hardware=hardware,
        options={
            name: option
            for name, option in built_in.items()
            if version_key(option.since) <= version_key(version)
        },
        conflicts=tuple(catalogue.conflicts),
        foreign=frozenset(every_key - built_in_keys),
    )


def version_key(version: str) -> tuple[int, ...]:
    """``2.10`` is newer than ``2.9``; what is no number counts as 0."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))
