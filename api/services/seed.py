"""The seed catalogue (DOMAIN 4): models, services, prices, mappings, capabilities; upserts."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from api.services.rules import firmware_at_least
from core.db import Connection, load_queries
from core.ids import new_id

SQL = load_queries("api.services", "seed.sql")


@dataclass(frozen=True, slots=True)
class ModelSeed:
    """A platform as the factory delivers it; ``without`` are options its hardware lacks."""

    code: str
    name: str
    engine_type: str
    firmwares: tuple[str, ...]  # the first is what the factory delivers today
    base_price_minor: int
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One optional parameter of a service, and the values a firmware takes for it."""

    module: str
    parameter: str
    on_value: bool | int | str
    off_value: bool | int | str
    allowed: tuple[bool | int | str, ...]


@dataclass(frozen=True, slots=True)
class ServiceSeed:
    """A service as the catalogue starts with it; ``prices`` in whole euros by tier."""

    code: str
    name: str
    category: str
    description: str
    prices: Mapping[str, int]
    parameters: tuple[Parameter, ...]
    safe_state: str
    required_blocks: tuple[str, ...] = ()
    safety_critical: bool = False
    min_firmware: str | None = None

    @property
    def requires_maintenance(self) -> bool:
        return bool(self.required_blocks)


_BASE_FEATURES = ("airbags", "abs", "esc", "air_conditioning", "radio", "reversing_camera")
_TIERS = ("DAY", "WEEK", "MONTH", "QUARTER", "PERMANENT", "SUBSCRIPTION")


def _prices(*euros: int) -> Mapping[str, int]:
    return MappingProxyType(dict(zip(_TIERS, euros, strict=True)))


MODELS: tuple[ModelSeed, ...] = (
    ModelSeed("AURORA", "Aurora", "ELECTRIC", ("2.4.1",), 4_200_000),
    # Firmware 2.2.0 has no motorway autopilot; 2.3.0 brings it.
    ModelSeed("BOREAL", "Boreal", "HYBRID", ("2.2.0", "2.3.0"), 3_600_000),
    ModelSeed("CIERZO", "Cierzo", "PETROL", ("2.4.1",), 2_800_000, frozenset({"ADVANCED_CLIMATE"})),
)

SERVICES: tuple[ServiceSeed, ...] = (
    ServiceSeed(
        "PERF_BOOST_50",
        "Power +50 %",
        "performance",
        "Half as much power again from the same motor.",
        _prices(15, 60, 180, 450, 1500, 200),
        (Parameter("ENGINE_CONTROL", "power_mode", "HIGH", "NORMAL", ("NORMAL", "HIGH")),),
        "PARKED",
        ("ENGINE", "TRANSMISSION"),
        safety_critical=True,
    ),
    ServiceSeed(
        "HIGHWAY_AUTOPILOT",
        "Highway autopilot",
        "autonomy",
        "Keeps lane, distance and speed on motorways.",
        _prices(20, 80, 240, 600, 2000, 260),
        (Parameter("ADAS", "autonomous_highway_enabled", True, False, (False, True)),),
        "PARKED",
        ("BRAKES", "SENSORS", "ADAS"),
        safety_critical=True,
        min_firmware="2.3",
    ),
    ServiceSeed(
        "ADVANCED_CLIMATE",
        "Advanced climate",
        "comfort",
        "Four climate zones instead of one.",
        _prices(5, 20, 60, 150, 500, 70),
        (Parameter("HVAC", "climate_zones", 4, 1, (1, 2, 4)),),
        "ANY",
    ),
    ServiceSeed(
        "OFF_ROAD",
        "Off-road",
        "traction",
        "Off-road and snow modes of the traction control.",
        _prices(10, 40, 120, 300, 800, 130),
        (
            Parameter("TRACTION_CONTROL", "off_road_mode", True, False, (False, True)),
            Parameter("TRACTION_CONTROL", "snow_mode_available", 1, 0, (0, 1)),
        ),
        # DOMAIN 7 demands PARKED of performance and ADAS; the drive's behaviour changes here too.
        "PARKED",
        ("SUSPENSION", "DRIVETRAIN"),
        safety_critical=True,
    ),
    ServiceSeed(
        "PREMIUM_ENTERTAINMENT",
        "Premium entertainment",
        "entertainment",
        "Film and music streaming on every screen.",
        _prices(8, 30, 90, 225, 600, 100),
        (Parameter("INFOTAINMENT", "premium_streaming", True, False, (False, True)),),
        "ANY",
    ),
)


async def seed_catalogue(conn: Connection) -> None:
    """Bring the catalogue to the seed's values; what is there already keeps its identity."""
    await conn.execute_many(SQL["upsert_model"], [_model_row(model) for model in MODELS])
    await conn.execute_many(SQL["upsert_service"], [_service_row(item) for item in SERVICES])
    await conn.execute_many(
        SQL["upsert_price"],
        [
            {"service_code": item.code, "tier": tier, "amount_minor": euros * 100}
            for item in SERVICES
            for tier, euros in item.prices.items()
        ],
    )
    await conn.execute_many(SQL["upsert_mapping"], list(_mapping_rows()))
    await conn.execute_many(SQL["upsert_capability"], list(_capability_rows()))


def _model_row(model: ModelSeed) -> dict[str, object]:
    return {
        "code": model.code,
        "name": model.name,
        "engine_type": model.engine_type,
        "firmware_version": model.firmwares[0],
        "base_features": list(_BASE_FEATURES),
        "base_price_minor": model.base_price_minor,
    }


def _service_row(item: ServiceSeed) -> dict[str, object]:
    return {
        "service_id": new_id(),
        "code": item.code,
        "name": item.name,
        "category": item.category,
        "description": item.description,
        "requires_maintenance": item.requires_maintenance,
        "required_blocks": list(item.required_blocks),
        "safety_critical": item.safety_critical,
        "min_firmware": item.min_firmware,
    }


def _mapping_rows() -> Iterator[dict[str, object]]:
    for item in SERVICES:
        settings = [
            {
                "module": p.module,
                "parameter": p.parameter,
                "on_value": p.on_value,
                "off_value": p.off_value,
            }
            for p in item.parameters
        ]
        for model in MODELS:
            if item.code not in model.without:
                yield {
                    "service_code": item.code,
                    "platform": model.code,
                    "settings": json.dumps(settings),
                    "safe_state": item.safe_state,
                }


def _capability_rows() -> Iterator[dict[str, object]]:
    for model in MODELS:
        for firmware in model.firmwares:
            for item in SERVICES:
                if item.code in model.without or _too_old(firmware, item.min_firmware):
                    continue
                for p in item.parameters:
                    yield {
                        "model": model.code,
                        "firmware_version": firmware,
                        "module": p.module,
                        "parameter": p.parameter,
                        "allowed": json.dumps(p.allowed),
                    }


def _too_old(firmware: str, minimum: str | None) -> bool:
    return minimum is not None and not firmware_at_least(firmware, minimum)
