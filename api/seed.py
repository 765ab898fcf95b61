"""First data: catalogue, one dealership, an employee per role. Repeating it changes nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from api.identity import passwords, repository
from api.services.seed import seed_catalogue
from core.contracts.states import Role
from core.db import Connection, load_queries
from core.ids import new_id

_SQL = load_queries("api", "seed.sql")

DEALERSHIP = "DEALER-ES-001"
STAFF: dict[Role, str] = {
    Role.SALES: "sales@dealer-es-001.example",
    Role.ADMIN: "admin@caas.example",
    Role.SUPPORT: "support@caas.example",
    Role.FINANCE: "finance@caas.example",
    Role.OPERATIONS: "operations@caas.example",
}


@dataclass(frozen=True, slots=True)
class SeedResult:
    """What is there now; ``logins`` maps each role to its user name."""

    dealership_id: UUID
    dealership_code: str
    logins: dict[str, str]
    created: bool


async def seed(conn: Connection, *, password: str, now: datetime) -> SeedResult:
    """Catalogue, dealership and staff in the caller's transaction (role caas_api).

    Every employee gets ``password``; one who exists keeps the old one.
    """
    await seed_catalogue(conn)
    dealership_id, created = await _dealership(conn)
    # One hash for all: argon2 is slow on purpose.
    password_hash = await passwords.hash_password(password)
    for role, username in STAFF.items():
        at = dealership_id if role is Role.SALES else None
        created |= await _employee(conn, role, username, at, password_hash, now)
    return SeedResult(
        dealership_id=dealership_id,
        dealership_code=DEALERSHIP,
        logins={role.value: username for role, username in STAFF.items()},
        created=created,
    )


async def _dealership(conn: Connection) -> tuple[UUID, bool]:
    row: dict[str, Any] = {
        "dealership_id": new_id(),
        "code": DEALERSHIP,
        "name": "Concesionario Ebro",
        "address": Jsonb(
            {
                "street": "Avenida de Navarra 12",
                "city": "Zaragoza",
                "postal_code": "50010",
                "country": "ES",
            }
        ),
        "authorization_number": "ES-CON-2024-0001",
    }
    created = await conn.execute(_SQL["insert_dealership"], row) == 1
    return await conn.value(_SQL["dealership_id"], {"code": DEALERSHIP}), created


async def _employee(
    conn: Connection,
    role: Role,
    username: str,
    dealership_id: UUID | None,
    password_hash: str,
    now: datetime,
) -> bool:
    if await repository.by_username(conn, username) is not None:
        return False
    employee_id = new_id()
    await conn.execute(
        _SQL["insert_employee"],
        {
            "employee_id": employee_id,
            "dealership_id": dealership_id,
            "role": role.value,
            "name": f"{role.value.title()} of the demo",
            "email": username,
            "now": now,
        },
    )
    await repository.insert_user(
        conn,
        user_id=new_id(),
        username=username,
        role=role,
        employee_id=employee_id,
        password_hash=password_hash,
        activated_at=now,
    )
    return True
