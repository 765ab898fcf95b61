"""The wanted configuration and its drifts in the database: typed calls on one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from core.contracts.wanted import WantedValue, parse_wanted
from core.db import Connection
from ota_engine.command_repository import Q
from ota_engine.model import Settings


@dataclass(frozen=True, slots=True)
class ServiceInUse:
    """A service in use on a vehicle, as its proved delivery has it."""

    wanted: Settings
    revert: Settings
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What became of telling the gateway what is wanted."""

    outcome: str
    version: int | None
    refused: list[str]


@dataclass(frozen=True, slots=True)
class Drift:
    """A row of gateway.drift_v1, as far as the engine is concerned."""

    drift_id: UUID
    vin: str
    state: str
    cause: str
    difference: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class PlatformService:
    """A service of a platform, and who uses it on the vehicle (nobody: no customer, not paid)."""

    service_code: str
    settings: list[dict[str, Any]]
    safe_state: str
    max_retries: int | None
    customer_id: UUID | None
    paid: bool


@dataclass(frozen=True, slots=True)
class _Values:
    wanted_values: Settings


class WantedRepository:
    """What is wanted of vehicles, what drifted, and corrections; the edge commits."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn

    async def services_in_use(self, vin: str) -> list[ServiceInUse]:
        return await self.conn.all(ServiceInUse, Q["services_in_use"], {"vin": vin})

    async def want(
        self, vin: str, values: Sequence[WantedValue], cause: str, now: datetime
    ) -> Wanted:
        """Merge ``values`` into the vehicle's wanted document (gateway.want_v1)."""
        found = await self.conn.one_or_none(
            Wanted,
            Q["want"],
            {
                "vin": vin,
                "values": Jsonb(msgspec.to_builtins(values)),
                "cause": cause,
                "now": now,
            },
        )
        assert found is not None
        return found

    async def wanted_values(self, vin: str) -> list[WantedValue]:
        found = await self.conn.one_or_none(_Values, Q["wanted_values"], {"vin": vin})
        return [] if found is None else parse_wanted(found.wanted_values)

    async def drift(self, drift_id: UUID, vin: str) -> Drift | None:
        return await self.conn.one_or_none(Drift, Q["drift"], {"drift_id": drift_id, "vin": vin})

    async def drift_failed(
        self, drift_id: UUID, reason: str, ticket_number: str | None, now: datetime
    ) -> bool:
        """Tell the gateway; False where the drift was closed in the meantime."""
        row = {
            "drift_id": drift_id,
            "reason": reason,
            "ticket_number": ticket_number,
            "now": now,
        }
        return bool(await self.conn.value(Q["drift_failed"], row))

    async def platform_services(self, vin: str, platform: str) -> list[PlatformService]:
        """Those in use on the vehicle first."""
        return await self.conn.all(
            PlatformService, Q["platform_settings"], {"vin": vin, "platform": platform}
        )

    async def insert_correction(self, row: dict[str, Any]) -> None:
        await self.conn.execute(Q["insert_correction"], row)
