"""Rows of catalogue, purchases and withdrawals, and what the engine's views say of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from api.services.lifecycle import PURCHASE, PurchaseEvent, PurchaseState
from api.services.rules import LIVE_STATES, Occupied, Tier, occupied
from core.db import Connection, load_queries
from core.errors import IllegalTransition
from core.money import Money

SQL = load_queries("api.services")


@dataclass(frozen=True, slots=True)
class Offer:
    """A service as one platform can buy it."""

    service_id: UUID
    code: str
    name: str
    category: str
    description: str
    requires_maintenance: bool
    required_blocks: list[str]
    safety_critical: bool
    min_compliance: int
    vss_policy: str
    min_firmware: str | None
    hide_after_withdrawal: bool
    on_platform: bool
    prices: dict[str, int]
    currency: str

    def price(self, tier: Tier) -> Money | None:
        """The listed price, None where the tier is not sold."""
        minor = self.prices.get(tier.value)
        return None if minor is None else Money(minor, self.currency)


@dataclass(frozen=True, slots=True)
class Purchase:
    """One attempt to buy."""

    activation_id: UUID
    customer_id: UUID
    vin: str
    service_code: str
    tier: str
    duration_days: int | None
    amount_minor: int
    currency: str
    starts_at: datetime | None
    payment_id: UUID | None
    state: str
    refusal: dict[str, Any] | None
    request_hash: str
    purchased_at: datetime

    @property
    def amount(self) -> Money:
        return Money(self.amount_minor, self.currency)


@dataclass(frozen=True, slots=True)
class Activation:
    """The engine's side of it (``ota.activation_v1``)."""

    activation_id: UUID
    vin: str
    service_code: str
    origin: str
    customer_id: UUID | None
    payment_id: UUID | None
    state: str
    duration_days: int | None
    starts_at: datetime | None
    purchased_at: datetime
    queued_at: datetime | None
    activated_at: datetime | None
    expires_at: datetime | None
    cancelled_at: datetime | None
    total_attempts: int
    ticket_number: str | None
    final_result: str | None
    charged: bool
    reason: str | None
    switch_off_state: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """A withdrawal that was granted."""

    eligibility: str
    refund_amount_minor: int
    status: str


@dataclass(frozen=True, slots=True)
class _Taken:
    service_code: str
    starts_at: datetime | None
    activated_at: datetime | None
    expires_at: datetime | None
    duration_days: int | None


@dataclass(frozen=True, slots=True)
class NewPurchase:
    """What is written when a purchase's checks are through."""

    activation_id: UUID
    customer_id: UUID
    vin: str
    service_code: str
    tier: Tier
    duration_days: int | None
    price: Money
    starts_at: datetime | None
    gate: Mapping[str, Any]
    idempotency_key: str
    request_hash: str
    at: datetime = field(kw_only=True)


async def offers(conn: Connection, model: str | None) -> list[Offer]:
    """The whole catalogue, as ``model`` sees it."""
    return await conn.all(Offer, SQL["offer"], {"model": model, "service": None})


async def offer(conn: Connection, model: str | None, service: str) -> Offer | None:
    """One service by its id or code."""
    return await conn.one_or_none(Offer, SQL["offer"], {"model": model, "service": service})


async def firmware(conn: Connection, vin: str) -> str | None:
    """What the registry knows the car to run."""
    value: str | None = await conn.value(SQL["firmware"], {"vin": vin})
    return value


async def hidden(conn: Connection, customer_id: UUID) -> frozenset[str]:
    """Codes of the services this customer no longer sees."""
    rows = await conn.dicts(SQL["hidden"], {"customer_id": customer_id})
    return frozenset(row["service_code"] for row in rows)


async def hide(
    conn: Connection, customer_id: UUID, service_code: str, *, reason: str, at: datetime
) -> None:
    row = {"customer_id": customer_id, "service_code": service_code, "reason": reason, "at": at}
    await conn.execute(SQL["hide"], row)


async def taken(conn: Connection, vin: str, now: datetime) -> dict[str, list[Occupied]]:
    """By service code: the times it is, or will be, on this car."""
    live = sorted(state.value for state in LIVE_STATES)
    rows = await conn.all(_Taken, SQL["taken"], {"vin": vin, "live": live})
    times: dict[str, list[Occupied]] = {}
    for row in rows:
        time = occupied(
            starts_at=row.starts_at,
            activated_at=row.activated_at,
            expires_at=row.expires_at,
            duration_days=row.duration_days,
            now=now,
        )
        times.setdefault(row.service_code, []).append(time)
    return times


async def lock_vehicle(conn: Connection, vin: str) -> None:
    """Until commit: one purchase at a time on this car."""
    await conn.value(SQL["lock_vehicle"], {"vin": vin})


async def purchase_by_key(
    conn: Connection, customer_id: UUID, idempotency_key: str
) -> Purchase | None:
    return await conn.one_or_none(
        Purchase,
        SQL["purchase_by_key"],
        {"customer_id": customer_id, "idempotency_key": idempotency_key},
    )


async def purchase(conn: Connection, activation_id: UUID, *, lock: bool = False) -> Purchase | None:
    query = SQL["lock_purchase" if lock else "purchase"]
    return await conn.one_or_none(Purchase, query, {"activation_id": activation_id})


async def insert_purchase(conn: Connection, new: NewPurchase) -> None:
    """A purchase at its start, in MAINTENANCE_CHECK."""
    await conn.execute(
        SQL["insert_purchase"],
        {
            "activation_id": new.activation_id,
            "customer_id": new.customer_id,
            "vin": new.vin,
            "service_code": new.service_code,
            "tier": new.tier.value,
            "duration_days": new.duration_days,
            "amount_minor": new.price.minor,
            "currency": new.price.currency,
            "starts_at": new.starts_at,
            "state": PURCHASE.initial.value,
            "gate": json.dumps(dict(new.gate)),
            "idempotency_key": new.idempotency_key,
            "request_hash": new.request_hash,
            "at": new.at,
        },
    )


async def move(
    conn: Connection,
    activation_id: UUID,
    event: PurchaseEvent,
    *,
    at: datetime,
    actor: str,
    payment_id: UUID | None = None,
    refusal: Mapping[str, Any] | None = None,
) -> PurchaseState:
    """One transition with its history row; IllegalTransition where the table lists none."""
    (source,) = PURCHASE.sources(event)  # every event of this table has one source
    target = PURCHASE.next(source, event)
    moved = await conn.execute(
        SQL["move_purchase"],
        {
            "activation_id": activation_id,
            "sources": [source.value],
            "event": event.value,
            "target": target.value,
            "at": at,
            "actor": actor,
            "payment_id": payment_id,
            "refusal": None if refusal is None else json.dumps(dict(refusal), default=str),
            "detail": "{}",
        },
    )
    if moved == 0:
        present = await purchase(conn, activation_id)
        raise IllegalTransition(PURCHASE.name, present.state if present else "?", event.value)
    return target


async def cached_maintenance(conn: Connection, vin: str, since: datetime) -> dict[str, Any] | None:
    """What the workshops said of the car, if that is not older than ``since``."""
    value: dict[str, Any] | None = await conn.value(
        SQL["cached_maintenance"], {"vin": vin, "since": since}
    )
    return value


async def cache_maintenance(
    conn: Connection, vin: str, body: Mapping[str, Any], at: datetime
) -> None:
    row = {"vin": vin, "body": json.dumps(dict(body)), "at": at}
    await conn.execute(SQL["cache_maintenance"], row)


async def activation(conn: Connection, activation_id: UUID) -> Activation | None:
    return await conn.one_or_none(Activation, SQL["activation"], {"activation_id": activation_id})


async def activations_of(
    conn: Connection, customer_id: UUID, vin: str | None
) -> list[dict[str, Any]]:
    return await conn.dicts(
        SQL["activations_of_customer"], {"customer_id": customer_id, "vin": vin}
    )


async def activation_history(conn: Connection, activation_id: UUID) -> list[dict[str, Any]]:
    """The engine's history; before the engine has it, the purchase's own."""
    row = {"activation_id": activation_id}
    history = await conn.dicts(SQL["activation_history"], row)
    return history or await conn.dicts(SQL["purchase_history"], row)


async def attempts(conn: Connection, activation_id: UUID) -> list[dict[str, Any]]:
    return await conn.dicts(SQL["attempts"], {"activation_id": activation_id})


async def granted_request(conn: Connection, activation_id: UUID) -> Request | None:
    return await conn.one_or_none(Request, SQL["granted_request"], {"activation_id": activation_id})


async def was_denied(conn: Connection, activation_id: UUID) -> bool:
    return bool(await conn.value(SQL["was_denied"], {"activation_id": activation_id}))


async def insert_request(conn: Connection, row: Mapping[str, Any]) -> None:
    await conn.execute(SQL["insert_request"], row)


async def complete_request(
    conn: Connection,
    activation_id: UUID,
    *,
    switched_off: bool,
    ticket_number: str | None,
    at: datetime,
) -> UUID | None:
    """Close a granted withdrawal; its customer, or None where there is none open."""
    customer_id: UUID | None = await conn.value(
        SQL["complete_request"],
        {
            "activation_id": activation_id,
            "switched_off": switched_off,
            "ticket_number": ticket_number,
            "at": at,
        },
    )
    return customer_id
