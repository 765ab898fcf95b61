"""POST /intranet/customers."""

from fastapi import APIRouter

from api.customers import service
from api.customers.schemas import CustomerIn, CustomerOut
from api.deps import Deps
from api.identity.deps import SalesCaller

router = APIRouter(prefix="/intranet/customers", tags=["sales"])


@router.post("", status_code=201)
async def create_customer(body: CustomerIn, deps: Deps, caller: SalesCaller) -> CustomerOut:
    """A customer without a sale yet: the account comes with the sale (DOMAIN 2)."""
    async with deps.database.transaction() as conn:
        return service.view(await service.create(conn, body))
