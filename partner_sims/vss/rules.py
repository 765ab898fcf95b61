"""What the workshops know of a car that nobody said anything else about (DOMAIN 5)."""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any

BLOCKS: Mapping[str, str] = MappingProxyType(
    {
        "ENGINE": "Engine",
        "TRANSMISSION": "Transmission",
        "BRAKES": "Brakes",
        "SUSPENSION": "Suspension",
        "DRIVETRAIN": "Drivetrain",
        "ELECTRONICS": "Electronics",
        "SENSORS": "Sensors",
        "ADAS": "Driver assistance",
        "TYRES": "Tyres",
        "CLIMATE": "Climate",
    }
)

INTERVAL_KM = 15_000
INTERVAL_MONTHS = 12
_INTERVAL_DAYS = 365


def default_status(vin: str, today: date) -> dict[str, Any]:
    """Everything up to date: serviced 90 days and a few thousand kilometres ago."""
    last_service_km = INTERVAL_KM
    serviced = today - timedelta(days=90)
    return {
        "vin": vin,
        "last_service_date": serviced.isoformat(),
        "last_service_mileage_km": last_service_km,
        # The same car always tells the same mileage.
        "current_mileage_km": last_service_km + sum(vin.encode()) * 3,
        "warranty_active": True,
        "functional_blocks": [
            {
                "block_id": block_id,
                "block_name": name,
                "maintenance_current": True,
                "compliance_percentage": 100,
                "next_service_due_km": last_service_km + INTERVAL_KM,
                "next_service_due_date": (serviced + timedelta(days=_INTERVAL_DAYS)).isoformat(),
                "overdue": False,
                "overdue_km": 0,
                "overdue_days": 0,
            }
            for block_id, name in BLOCKS.items()
        ],
    }


def apply(status: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``status`` with what a test or the demo set: top-level fields, and blocks by ``block_id``."""
    by_block = {block["block_id"]: block for block in changes.get("functional_blocks") or ()}
    merged = {
        **status,
        **{key: value for key, value in changes.items() if key != "functional_blocks"},
    }
    merged["functional_blocks"] = [
        {**block, **by_block.get(block["block_id"], {})} for block in status["functional_blocks"]
    ]
    return merged


def only_blocks(status: dict[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """``status`` with the asked blocks alone; all of them where none is asked for."""
    names = {name.strip().upper() for name in wanted if name.strip()}
    if not names:
        return status
    blocks = [block for block in status["functional_blocks"] if block["block_id"] in names]
    return {**status, "functional_blocks": blocks}


def default_history(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The services done, oldest first: one on schedule."""
    return [
        {
            "service_id": f"SRV-{status['vin'][-6:]}-1",
            "type": "scheduled",
            "date": status["last_service_date"],
            "mileage_km": status["last_service_mileage_km"],
            "functional_blocks": list(BLOCKS),
            "workshop": "Talleres Ebro",
            "description": "First periodic service",
        }
    ]


def schedule(model: str, year: int) -> dict[str, Any]:
    """When a model is due: by distance or by time, whichever comes first."""
    return {
        "model": model,
        "year": year,
        "intervals": [
            {
                "block_id": block_id,
                "interval_km": INTERVAL_KM,
                "interval_months": INTERVAL_MONTHS,
            }
            for block_id in BLOCKS
        ],
    }
