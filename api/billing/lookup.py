"""What other nouns ask of payments without changing them."""

from typing import Any
from uuid import UUID

from api.billing import repository
from core.db import Connection, load_queries

_SQL = load_queries("api.billing", "lookup.sql")


async def knows_key(conn: Connection, customer_id: UUID, idempotency_key: str) -> bool:
    """True where ``charge`` would repeat an earlier answer instead of charging anew."""
    return await repository.payment_by_key(conn, customer_id, idempotency_key) is not None


async def payments_of(conn: Connection, customer_id: UUID) -> list[dict[str, Any]]:
    """The customer's payments for the purchase file, also pending ones, newest first."""
    return await conn.dicts(_SQL["payments_of"], {"customer_id": customer_id})


async def invoices_of(conn: Connection, customer_id: UUID) -> list[dict[str, Any]]:
    """The customer's invoices for the purchase file, newest first."""
    return await conn.dicts(_SQL["invoices_of"], {"customer_id": customer_id})
