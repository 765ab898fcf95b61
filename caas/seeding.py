"""`caas seed`: what a platform starts with."""

from api.seed import seed
from caas.database import one_transaction
from core.clock import SystemClock


async def seed_database(staff_password: str) -> str:
    """Models, catalogue, dealership and staff; repeatable. A line that says what is there now."""
    async with one_transaction("caas_api") as conn:
        seeded = await seed(conn, password=staff_password, now=SystemClock().now())
    logins = "\n".join(f"  {role.lower()}: {login}" for role, login in seeded.logins.items())
    return f"Models, services, prices, mappings and {seeded.dealership_code} are there.\n{logins}"
