"""What the ingestor remembers of its database: vehicles' numbers and the days with a partition."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import core.log
from core.db import Database, load_queries

log = core.log.get(__name__)
QUERIES = load_queries("telemetry")


@dataclass(frozen=True, slots=True)
class _Vehicle:
    id: int
    vin: str


class KnownVehicles:
    """VIN → number, for vehicles of the registry; a miss is looked up again every time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: dict[str, int] = {}

    async def ids(self, vins: set[str]) -> dict[str, int]:
        """The numbers of those of ``vins`` that the registry knows."""
        missing = sorted(vins - self._ids.keys())
        if missing:
            async with self._database.transaction() as conn:
                await conn.execute(QUERIES["adopt_vehicles"], {"vins": missing})
                found = await conn.all(_Vehicle, QUERIES["find_vehicles"], {"vins": missing})
            # Only what is committed may be remembered.
            self._ids.update((vehicle.vin, vehicle.id) for vehicle in found)
        return {vin: self._ids[vin] for vin in vins if vin in self._ids}


class KnownDays:
    """UTC days that have a partition."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._days: set[date] = set()

    async def ensure(self, days: Iterable[date]) -> None:
        """Make the partitions that are missing, each in a transaction of its own."""
        for day in sorted(set(days) - self._days):
            async with self._database.transaction() as conn:
                made = await conn.value(QUERIES["ensure_partition"], {"day": day})
            self._days.add(day)
            if made:
                log.info("partition made", day=day.isoformat())

    def forget(self) -> None:
        """Look again: a partition may have been dropped."""
        self._days.clear()
