"""The factory's decisions: which order it takes, and what step follows (DOMAIN 10)."""

import re
from collections.abc import Collection
from dataclasses import dataclass

ORDERED = "ORDERED"
IN_PRODUCTION = "IN_PRODUCTION"
QUALITY_CHECK = "QUALITY_CHECK"
READY_FOR_SHIPMENT = "READY_FOR_SHIPMENT"
SHIPPED = "SHIPPED"
DELAYED = "DELAYED"

STEPS = (
    ORDERED,
    IN_PRODUCTION,
    "ASSEMBLY_COMPLETE",
    QUALITY_CHECK,
    READY_FOR_SHIPMENT,
    SHIPPED,
    "ARRIVED_AT_DEALERSHIP",
)

NOTES = {
    ORDERED: "Order accepted and scheduled",
    IN_PRODUCTION: "Body and drivetrain on the line",
    "ASSEMBLY_COMPLETE": "Assembly finished",
    QUALITY_CHECK: "On the test bench",
    READY_FOR_SHIPMENT: "Quality check passed, waiting for transport",
    SHIPPED: "Handed to the transport company",
    "ARRIVED_AT_DEALERSHIP": "Unloaded at the dealership",
    DELAYED: "Parts are late; the date moved",
}

PLANT = "Zaragoza, ES"
TRANSPORT_COMPANY = "Transportes Ebro S.A."
BUILD_DAYS = 45
DELAY_DAYS = 14

# Hardware a platform is not built with (DOMAIN 4).
_NOT_BUILT = {"CIERZO": frozenset({"ADVANCED_CLIMATE"})}
_OPTION_CODE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a specification, and in which field."""

    field: str
    message: str


def check_options(
    platform: str, initial: Collection[str], permanent: Collection[str], known: Collection[str]
) -> Fault | None:
    """None where the factory can build it (400 INVALID_SPECIFICATION otherwise)."""
    if platform not in known:
        return Fault("vehicle_specification.platform_base", f"{platform} is not a platform")
    fields = {
        "vehicle_specification.initial_options": initial,
        "plan_comercial.opciones_permanentes": permanent,
    }
    for field, options in fields.items():
        if len(set(options)) != len(options):
            return Fault(field, "an option is named twice")
        for option in options:
            if not _OPTION_CODE.fullmatch(option):
                return Fault(field, f"{option!r} is not an option code")
            if option in _NOT_BUILT.get(platform, ()):
                return Fault(field, f"{platform} is not built with {option}")
    return None


def next_step(status: str, *, quality_passed: bool = True) -> str | None:
    """What follows ``status``; None at the end. A failed check goes back on the line."""
    if status == QUALITY_CHECK and not quality_passed:
        return IN_PRODUCTION
    position = STEPS.index(status) + 1
    return STEPS[position] if position < len(STEPS) else None


def has_left(status: str) -> bool:
    """True from SHIPPED on: the car has a VIN and a transporter."""
    return STEPS.index(status) >= STEPS.index(SHIPPED)


def location(status: str, dealership_id: str) -> str:
    """Where the car is in ``status``."""
    if status == SHIPPED:
        return f"In transit to {dealership_id}"
    return dealership_id if status == STEPS[-1] else PLANT
