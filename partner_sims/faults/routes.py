"""`/faults`: read and turn the knobs."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from partner_sims.errors import PartnerError
from partner_sims.faults.service import BUSINESS_MODES, PARTNERS, TRANSPORT_MODES, Fault
from partner_sims.sims import Sims, SimsDep

router = APIRouter(prefix="/faults", tags=["faults"])


class FaultIn(BaseModel):
    """A knob's new position."""

    model_config = ConfigDict(extra="forbid")

    mode: str
    delay_s: float | None = Field(None, ge=0, le=600)
    count: int | None = Field(None, ge=1, description="the next so many matching calls only")
    match: str | None = Field(None, description="only calls with this text in method, path, body")
    code: str | None = Field(None, description="the error code a decline carries")


@router.get("")
async def list_faults(sims: SimsDep) -> dict[str, Any]:
    """Every partner's fault, and the modes it knows."""
    return {partner: _view(sims, partner) for partner in PARTNERS}


@router.put("/{partner}")
async def put_fault(partner: str, body: FaultIn, sims: SimsDep) -> dict[str, Any]:
    """Set a partner's fault; ``ok`` clears it."""
    if partner not in PARTNERS:
        raise PartnerError(404, "UNKNOWN_PARTNER", f"partners are {', '.join(PARTNERS)}")
    if body.mode not in ("ok", *TRANSPORT_MODES, *BUSINESS_MODES[partner]):
        raise PartnerError(400, "UNKNOWN_MODE", f"{partner} has no mode {body.mode}")
    default_delay_s = 5.0 if body.mode == "slow" else 0.0
    delay_s = default_delay_s if body.delay_s is None else body.delay_s
    with sims.store.transaction():
        sims.faults.put(Fault(partner, body.mode, delay_s, body.count, body.match, body.code))
    return _view(sims, partner)


@router.delete("")
async def clear_faults(sims: SimsDep) -> dict[str, Any]:
    """Every partner behaves again."""
    with sims.store.transaction():
        sims.faults.clear()
    return await list_faults(sims)


def _view(sims: Sims, partner: str) -> dict[str, Any]:
    modes = ["ok", *TRANSPORT_MODES, *BUSINESS_MODES[partner]]
    for fault in sims.faults.all():
        if fault.partner == partner:
            return {**asdict(fault), "modes": modes}
    return {"partner": partner, "mode": "ok", "modes": modes}
