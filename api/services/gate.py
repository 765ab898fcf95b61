"""The maintenance gate: do the workshops' data allow a purchase? Pure (DOMAIN 5)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

# What workshops call a block, and what we call it.
ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "MOTOR": "ENGINE",
        "POWERTRAIN": "ENGINE",
        "GEARBOX": "TRANSMISSION",
        "BRAKE": "BRAKES",
        "BRAKING": "BRAKES",
        "DRIVE_TRAIN": "DRIVETRAIN",
        "ELECTRICS": "ELECTRONICS",
        "SENSOR": "SENSORS",
        "DRIVER_ASSISTANCE": "ADAS",
        "TIRES": "TYRES",
        "TYRE": "TYRES",
        "HVAC": "CLIMATE",
    }
)


@dataclass(frozen=True, slots=True)
class Block:
    """One functional block as the VSS reports it; None = the VSS did not say."""

    block_id: str
    current: bool | None
    compliance: float | None
    overdue: bool | None = None
    overdue_km: int | None = None
    overdue_days: int | None = None
    due_date: str | None = None


@dataclass(frozen=True, slots=True)
class MaintenanceStatus:
    """A car's maintenance as far as the gate needs it."""

    warranty_active: bool | None
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Allowed, or why not; ``details`` is what the buyer is told (DOMAIN 16)."""

    allowed: bool
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def snapshot(self) -> dict[str, Any]:
        """What CaaS keeps of maintenance: the decision, nothing else (DOMAIN 3)."""
        return {"allowed": self.allowed, "reason": self.reason, **self.details}


NOT_GATED = GateDecision(True, "NOT_GATED")


def canonical(block_id: str) -> str:
    """Our name of a block, whatever the workshop calls it."""
    name = block_id.strip().upper()
    return ALIASES.get(name, name)


def decide(
    required_blocks: tuple[str, ...],
    min_compliance: int,
    status: MaintenanceStatus,
    workshop_url: str,
) -> GateDecision:
    """The decision of DOMAIN 5 for a gated service; what is not known counts against it."""
    failing = [
        problem
        for required in required_blocks
        if (problem := _problem(canonical(required), min_compliance, status)) is not None
    ]
    if status.warranty_active is not True:
        reason = "WARRANTY_INACTIVE"
    elif failing:
        reason = "MAINTENANCE_OVERDUE"
    else:
        return GateDecision(True, "COMPLIANT")
    return GateDecision(False, reason, _details(failing, status, workshop_url))


def _problem(required: str, min_compliance: int, status: MaintenanceStatus) -> Block | None:
    """The worst the VSS says of a block, if it does not pass; an unknown block does not."""
    reported = [block for block in status.blocks if canonical(block.block_id) == required]
    if not reported:
        return Block(required, None, None)
    return next((block for block in reported if not _passes(block, min_compliance)), None)


def _passes(block: Block, min_compliance: int) -> bool:
    return (
        block.current is True
        and block.compliance is not None
        and block.compliance >= min_compliance
        and block.overdue is not True
    )


def _details(failing: list[Block], status: MaintenanceStatus, workshop_url: str) -> dict[str, Any]:
    due = sorted(block.due_date for block in failing if block.due_date)
    return {
        "blocks": [
            {
                "block": canonical(block.block_id),
                "compliance": block.compliance,
                "overdue_km": block.overdue_km,
                "overdue_days": block.overdue_days,
                "due_date": block.due_date,
            }
            for block in failing
        ],
        "overdue_km": max((block.overdue_km or 0 for block in failing), default=0),
        "overdue_days": max((block.overdue_days or 0 for block in failing), default=0),
        "due_date": due[0] if due else None,
        "workshop_url": workshop_url,
        "warranty_active": status.warranty_active,
    }
