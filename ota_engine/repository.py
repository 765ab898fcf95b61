"""The engine's tables: every statement of ``queries.sql`` as a typed call on one transaction."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from core.contracts.bus import ParameterSetting
from core.contracts.jobs import RequestActivation
from core.errors import Conflict, IllegalTransition, NotFound
from ota_engine.command_repository import CommandRepository, Q, TicketRepository
from ota_engine.lifecycle import ACTIVATION, ActivationEvent
from ota_engine.model import (
    Activation,
    Delivery,
    Direction,
    Settings,
    Vehicle,
    parse_settings,
)
from ota_engine.wanted_repository import WantedRepository


@dataclass(frozen=True, slots=True)
class Due:
    """Something the scan must look at."""

    id: UUID
    vin: str


@dataclass(frozen=True, slots=True)
class Interest:
    known: bool
    open: bool
    watched: bool


@dataclass(frozen=True, slots=True)
class Mapping:
    settings: list[dict[str, Any]]
    safe_state: str
    max_retries: int | None


@dataclass(frozen=True, slots=True)
class Capability:
    module: str
    parameter: str
    allowed: list[Any]


@dataclass(frozen=True, slots=True)
class Expiring:
    activation_id: UUID
    vin: str
    service_code: str
    customer_id: UUID | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Settings:
    settings: Settings


class Repository(CommandRepository, TicketRepository, WantedRepository):
    """All the engine's tables on the caller's transaction; the edge commits."""

    # --- vehicles and configuration -----------------------------------------------------------

    async def lock_vehicle(self, vin: str) -> None:
        """Wait until no other transaction of the engine handles this vehicle."""
        await self.conn.value(Q["lock_vehicle"], {"vin": vin})

    async def try_lock_vehicle(self, vin: str) -> bool:
        return bool(await self.conn.value(Q["try_lock_vehicle"], {"vin": vin}))

    async def vehicle(self, vin: str) -> Vehicle | None:
        return await self.conn.one_or_none(Vehicle, Q["vehicle"], {"vin": vin})

    async def vehicle_busy(self, vin: str) -> bool:
        return bool(await self.conn.value(Q["vehicle_busy"], {"vin": vin}))

    async def yield_corrections(self, vin: str, now: datetime) -> None:
        """Let a customer's delivery pass corrections that wait without a command out."""
        await self.conn.execute(Q["yield_corrections"], {"vin": vin, "now": now})

    async def interest(self, vin: str) -> Interest:
        found = await self.conn.one_or_none(Interest, Q["interest"], {"vin": vin})
        assert found is not None
        return found

    async def mapping(self, service_code: str, platform: str) -> Mapping | None:
        return await self.conn.one_or_none(
            Mapping, Q["mapping"], {"service_code": service_code, "platform": platform}
        )

    async def capabilities(self, model: str, firmware: str) -> list[Capability]:
        return await self.conn.all(
            Capability, Q["capabilities"], {"model": model, "firmware": firmware}
        )

    # --- activations --------------------------------------------------------------------------

    async def insert_activation(
        self, job: RequestActivation, state: str, queued_at: datetime | None
    ) -> bool:
        """False where it is there already."""
        row = {
            "activation_id": job.activation_id,
            "vin": job.vin,
            "service_code": job.service_code,
            "origin": job.origin.value,
            "customer_id": job.customer_id,
            "payment_id": job.payment_id,
            "order_id": job.order_id,
            "state": state,
            "paid": job.paid,
            "duration_days": job.duration_days,
            "starts_at": job.starts_at,
            "purchased_at": job.purchased_at,
            "queued_at": queued_at,
        }
        return await self.conn.execute(Q["insert_activation"], row) == 1

    async def vin_of(self, activation_id: UUID) -> str:
        vin = await self.conn.value(Q["vin_of_activation"], {"activation_id": activation_id})
        if vin is None:
            raise NotFound("UNKNOWN_ACTIVATION", f"no activation {activation_id}")
        return str(vin)

    async def activation(self, activation_id: UUID) -> Activation:
        """The row, locked."""
        found = await self.conn.one_or_none(
            Activation, Q["activation"], {"activation_id": activation_id}
        )
        if found is None:
            raise NotFound("UNKNOWN_ACTIVATION", f"no activation {activation_id}")
        return found

    async def add_history(
        self, activation_id: UUID, from_state: str, event: str, to_state: str, at: datetime,
        actor: str,
    ) -> None:  # fmt: skip
        """A row for what happened before the engine had the activation."""
        row = _history(activation_id, from_state, event, to_state, at, None, actor, {})
        await self.conn.execute(Q["history"], row)

    async def move(
        self,
        activation: Activation,
        event: ActivationEvent,
        at: datetime,
        *,
        actor: str,
        cause: str | None = None,
        detail: dict[str, Any] | None = None,
    ) -> Activation:
        """Take ``event``: state and history in one guarded statement; IllegalTransition else."""
        target = ACTIVATION.next(activation.status, event)
        row = _history(
            activation.activation_id, activation.state, event.value, target.value, at, cause,
            actor, detail or {},
        )  # fmt: skip
        if await self.conn.execute(Q["move_activation"], row) != 1:
            raise IllegalTransition(ACTIVATION.name, activation.state, event.value)
        return await self.activation(activation.activation_id)

    async def set_active(
        self, activation_id: UUID, expires_at: datetime | None, charged: bool, at: datetime
    ) -> None:
        await self.conn.execute(
            Q["set_active"],
            {
                "activation_id": activation_id,
                "expires_at": expires_at,
                "charged": charged,
                "at": at,
            },
        )

    async def count_attempt(self, activation_id: UUID, at: datetime) -> None:
        await self.conn.execute(Q["count_attempt"], {"activation_id": activation_id, "at": at})

    async def order_release(self, activation_id: UUID, at: datetime) -> bool:
        """True for the one call that orders the release."""
        row = {"activation_id": activation_id, "at": at}
        return await self.conn.execute(Q["order_release"], row) == 1

    async def set_withdrawn(self, activation_id: UUID, withdrawn: bool, at: datetime) -> None:
        row = {"activation_id": activation_id, "withdrawn": withdrawn, "at": at}
        await self.conn.execute(Q["set_withdrawn"], row)

    async def in_use_elsewhere(self, activation: Activation) -> bool:
        row = {
            "vin": activation.vin,
            "service_code": activation.service_code,
            "activation_id": activation.activation_id,
        }
        return bool(await self.conn.value(Q["in_use_elsewhere"], row))

    async def needed_by_others(self, activation_id: UUID, vin: str) -> list[ParameterSetting]:
        """What other services in use on the vehicle have set."""
        rows = await self.conn.all(
            _Settings, Q["needed_by_others"], {"vin": vin, "activation_id": activation_id}
        )
        return [setting for row in rows for setting in parse_settings(row.settings)]

    async def due_activations(self, now: datetime, batch: int) -> list[Due]:
        return await self.conn.all(Due, Q["due_activations"], {"now": now, "batch": batch})

    async def claim_expiring(self, params: dict[str, Any]) -> list[Expiring]:
        return await self.conn.all(Expiring, Q["claim_expiring"], params)

    # --- deliveries and attempts --------------------------------------------------------------

    async def insert_delivery(
        self, delivery_id: UUID, activation: Activation, direction: Direction,
        wanted: Sequence[ParameterSetting], revert: Sequence[ParameterSetting], safe_state: str,
        max_retries: int, at: datetime,
    ) -> None:  # fmt: skip
        await self.conn.execute(
            Q["insert_delivery"],
            {
                "delivery_id": delivery_id,
                "activation_id": activation.activation_id,
                "vin": activation.vin,
                "direction": direction.value,
                "wanted": Jsonb(msgspec.to_builtins(wanted)),
                "revert": Jsonb(msgspec.to_builtins(revert)),
                "safe_state": safe_state,
                "max_retries": max_retries,
                "at": at,
            },
        )

    async def delivery(self, delivery_id: UUID) -> Delivery | None:
        """The row, locked; None where another transaction has it."""
        return await self.conn.one_or_none(Delivery, Q["delivery"], {"delivery_id": delivery_id})

    async def open_deliveries(self, vin: str) -> list[Delivery]:
        return await self.conn.all(Delivery, Q["open_deliveries"], {"vin": vin})

    async def deliveries_of(self, activation_id: UUID, direction: Direction) -> list[Delivery]:
        row = {"activation_id": activation_id, "direction": direction.value}
        return await self.conn.all(Delivery, Q["deliveries_of"], row)

    async def given_up(self, vin: str, seq: int) -> list[Delivery]:
        return await self.conn.all(Delivery, Q["given_up"], {"vin": vin, "seq": seq})

    async def save_delivery(self, changed: Delivery, from_state: str, now: datetime) -> None:
        """Write it back, guarded by the state it was read in."""
        row = {**asdict(changed), "from_state": from_state, "now": now}
        for column in ("wanted", "revert"):
            del row[column]
        if await self.conn.execute(Q["save_delivery"], row) != 1:
            raise Conflict("DELIVERY_MOVED", f"{changed.delivery_id} is not {from_state} any more")

    async def due_deliveries(self, now: datetime, batch: int) -> list[Due]:
        return await self.conn.all(Due, Q["due_deliveries"], {"now": now, "batch": batch})

    async def insert_attempt(
        self, delivery: Delivery, at: datetime, snapshot: dict[str, Any]
    ) -> None:
        await self.conn.execute(
            Q["insert_attempt"],
            {
                "activation_id": delivery.activation_id,
                "delivery_id": delivery.delivery_id,
                "attempt": delivery.attempt,
                "at": at,
                "snapshot": Jsonb(snapshot),
                "command_id": delivery.command_id,
            },
        )

    async def attempt_command(self, delivery: Delivery) -> None:
        row = {"command_id": delivery.command_id, **_attempt_key(delivery)}
        await self.conn.execute(Q["attempt_command"], row)

    async def attempt_response(self, delivery: Delivery, code: str, message: str | None) -> None:
        row = {"code": code, "message": message, **_attempt_key(delivery)}
        await self.conn.execute(Q["attempt_response"], row)

    async def end_attempt(
        self, delivery: Delivery, result: str | None, at: datetime,
        code: str | None = None, message: str | None = None,
    ) -> None:  # fmt: skip
        row = {"result": result, "at": at, "code": code, "message": message}
        await self.conn.execute(Q["end_attempt"], row | _attempt_key(delivery))

    async def attempts(self, activation_id: UUID) -> list[dict[str, Any]]:
        return await self.conn.dicts(Q["attempts"], {"activation_id": activation_id})

    async def attempts_of(self, delivery_id: UUID) -> list[dict[str, Any]]:
        return await self.conn.dicts(Q["attempts_of_delivery"], {"delivery_id": delivery_id})

    async def count_in_flight(self) -> int:
        return int(await self.conn.value(Q["count_in_flight"]))


def _history(
    activation_id: UUID, from_state: str, event: str, to_state: str, at: datetime,
    cause: str | None, actor: str, detail: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    return {
        "activation_id": activation_id,
        "from_state": from_state,
        "event": event,
        "to_state": to_state,
        "at": at,
        "cause": cause,
        "actor": actor,
        "detail": Jsonb(detail),
    }


def _attempt_key(delivery: Delivery) -> dict[str, Any]:
    return {"delivery_id": delivery.delivery_id, "attempt": delivery.attempt}
