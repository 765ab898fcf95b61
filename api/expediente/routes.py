"""GET /expediente: the customer's purchase file (DOMAIN 14)."""

from typing import Any

from fastapi import APIRouter

from api.deps import Deps
from api.expediente.service import purchase_file
from api.identity.deps import CustomerCaller

router = APIRouter(tags=["file"])


@router.get("/expediente")
async def read_file(deps: Deps, caller: CustomerCaller) -> dict[str, Any]:
    """Everything the platform keeps of the caller's purchases."""
    async with deps.database.transaction() as conn:
        return await purchase_file(conn, caller.customer)
