"""What may be set about a car."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from partner_sims.vss.rules import BLOCKS


class BlockIn(BaseModel):
    """Maintenance facts of one functional block; what is left out stays up to date."""

    model_config = ConfigDict(extra="forbid")

    block_id: str
    maintenance_current: bool | None = None
    compliance_percentage: float | None = Field(None, ge=0, le=100)
    next_service_due_km: int | None = None
    next_service_due_date: str | None = None
    overdue: bool | None = None
    overdue_km: int | None = Field(None, ge=0)
    overdue_days: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _known(self) -> "BlockIn":
        if self.block_id not in BLOCKS:
            raise ValueError(f"blocks are {', '.join(BLOCKS)}")
        return self


class ServiceIn(BaseModel):
    """One entry of the service history."""

    service_id: str
    type: Literal["scheduled", "corrective", "warranty", "recall"]
    date: str
    mileage_km: int = Field(ge=0)
    functional_blocks: list[str] = []
    workshop: str = ""
    description: str = ""


class VehicleIn(BaseModel):
    """What the workshops are to say of a car from now on; replaces what was set before."""

    model_config = ConfigDict(extra="forbid")

    known: bool = True
    last_service_date: str | None = None
    last_service_mileage_km: int | None = Field(None, ge=0)
    current_mileage_km: int | None = Field(None, ge=0)
    warranty_active: bool | None = None
    functional_blocks: list[BlockIn] | None = None
    service_history: list[ServiceIn] | None = None

    def changes(self) -> dict[str, Any]:
        """Only what was set."""
        return self.model_dump(exclude_none=True)
