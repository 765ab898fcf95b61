"""Rows of messages, and the few facts their texts need."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from api.notifications.events import Channel
from core.db import Connection, load_queries

SQL = load_queries("api.notifications")


@dataclass(frozen=True, slots=True)
class Unsent:
    """A message that has still to go out."""

    message_id: UUID
    channel: str
    audience: str
    recipient: str

    @property
    def kind(self) -> Channel:
        return Channel(self.channel)


async def insert(conn: Connection, row: Mapping[str, Any]) -> bool:
    """Save a message; False where this one is there already."""
    return await conn.execute(SQL["insert"], row) == 1


async def unsent(conn: Connection, dedupe_key: str) -> list[Unsent]:
    return await conn.all(Unsent, SQL["unsent"], {"dedupe_key": dedupe_key})


async def mark_sent(conn: Connection, message_id: UUID, at: datetime) -> None:
    await conn.execute(SQL["mark_sent"], {"message_id": message_id, "at": at})


async def of_customer(conn: Connection, customer_id: UUID) -> list[dict[str, Any]]:
    return await conn.dicts(SQL["of_customer"], {"customer_id": customer_id})


async def activation_facts(conn: Connection, activation_id: UUID) -> dict[str, Any]:
    """Service code, length, expiry and ticket of an activation, as far as there is one."""
    row = {"activation_id": activation_id}
    found = await conn.dicts(SQL["activation"], row)
    if found:
        return found[0]
    code = await conn.value(SQL["purchased_service"], row)
    return {"service_code": code} if code else {}


async def service_name(conn: Connection, code: str) -> str | None:
    name: str | None = await conn.value(SQL["service_name"], {"code": code})
    return name
