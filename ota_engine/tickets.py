"""Tickets: exactly one for each failure, with the whole case in it (DOMAIN 7)."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from core.contracts.bus import VehicleStatus
from core.contracts.jobs import Notify
from core.contracts.states import TicketState
from core.ids import new_id
from ota_engine import notices
from ota_engine.command_repository import Ticket
from ota_engine.model import Activation, Delivery, TicketKind, Vehicle
from ota_engine.unit import Unit

OPEN_STATES = (TicketState.OPEN.value, TicketState.IN_PROGRESS.value)

# A ticket names a service; a parameter that none has any more belongs to none.
NO_SERVICE = "-"


async def open_ticket(
    unit: Unit,
    activation: Activation,
    delivery: Delivery,
    vehicle: Vehicle | None,
    status: VehicleStatus | None = None,
) -> Ticket:
    """The activation's ticket of this kind, made if there is none; staff are told of a new one."""
    kind = TicketKind.ACTIVATION if delivery.is_on else TicketKind.SWITCH_OFF
    package = await _package(unit, activation, delivery, vehicle, status)
    made = await unit.repo.insert_ticket(
        {
            "ticket_id": new_id(),
            "activation_id": activation.activation_id,
            "vin": activation.vin,
            "customer_id": activation.customer_id,
            "service_code": activation.service_code,
            "payment_id": activation.payment_id,
            "kind": kind.value,
            "priority": "HIGH" if activation.paid else "MEDIUM",
            "error_code": delivery.last_reason,
            "error_message": package["last_error_message"],
            "package": Jsonb(package),
            "first_contact_due": unit.now + timedelta(seconds=unit.settings.ticket_first_contact_s),
            "resolution_due": unit.now + timedelta(seconds=unit.settings.ticket_resolution_s),
            "at": unit.now,
        }
    )
    ticket = await unit.repo.ticket(activation.activation_id, kind)
    assert ticket is not None
    if kind is TicketKind.ACTIVATION:
        await unit.repo.set_ticket(activation.activation_id, ticket.ticket_id, unit.now)
    if made:
        await notices.tell_support(
            unit,
            activation,
            notices.TICKET_CREATED,
            ticket_number=ticket.number,
            reason=delivery.last_reason,
        )
    return ticket


async def open_drift_ticket(
    unit: Unit,
    delivery: Delivery,
    vehicle: Vehicle | None,
    status: VehicleStatus | None,
    *,
    customer_id: UUID | None,
    paid: bool,
) -> Ticket:
    """The drift's ticket, made if there is none; staff are told of a new one.

    ``customer_id``, ``paid``: of the service in use that is not as it should be, if it is one.
    """
    assert delivery.drift_id is not None
    attempts = await unit.repo.attempts_of(delivery.delivery_id)
    package = await _package_of(unit, delivery, vehicle, status, attempts)
    drift = await unit.repo.drift(delivery.drift_id, delivery.vin)
    made = await unit.repo.insert_drift_ticket(
        {
            "ticket_id": new_id(),
            "drift_id": delivery.drift_id,
            "vin": delivery.vin,
            "customer_id": customer_id,
            "service_code": delivery.service_code or NO_SERVICE,
            "priority": "HIGH" if paid else "MEDIUM",
            "error_code": delivery.last_reason,
            "error_message": package["last_error_message"],
            "package": Jsonb(
                {"drift": _plain(None if drift is None else asdict(drift)), **package}
            ),
            "first_contact_due": unit.now + timedelta(seconds=unit.settings.ticket_first_contact_s),
            "resolution_due": unit.now + timedelta(seconds=unit.settings.ticket_resolution_s),
            "at": unit.now,
        }
    )
    ticket = await unit.repo.drift_ticket(delivery.drift_id)
    assert ticket is not None
    if made:
        await unit.defer(
            Notify(
                event=notices.TICKET_CREATED,
                dedupe_key=f"{notices.TICKET_CREATED}:{ticket.number}",
                staff_role="SUPPORT",
                vin=delivery.vin,
                data={
                    "service_code": delivery.service_code or NO_SERVICE,
                    "ticket_number": ticket.number,
                    "reason": delivery.last_reason,
                },
            )
        )
    return ticket


async def _package(
    unit: Unit,
    activation: Activation,
    delivery: Delivery,
    vehicle: Vehicle | None,
    status: VehicleStatus | None,
) -> dict[str, Any]:
    attempts = await unit.repo.attempts(activation.activation_id)
    of_delivery = await _package_of(unit, delivery, vehicle, status, attempts)
    return {"activation": _plain(asdict(activation)), **of_delivery}


async def _package_of(
    unit: Unit,
    delivery: Delivery,
    vehicle: Vehicle | None,
    status: VehicleStatus | None,
    attempts: list[dict[str, Any]],
) -> dict[str, Any]:
    tried = await unit.repo.body_of_delivery(delivery.delivery_id, None)
    messages = [row["response_message"] for row in attempts if row["response_message"]]
    fresh = None if status is None else msgspec.to_builtins(status)
    return _plain(
        {
            "delivery": {
                "direction": delivery.direction,
                "wanted": delivery.wanted,
                "retries": delivery.retries,
                "last_reason": delivery.last_reason,
            },
            "attempts": attempts,
            "payload_tried": None if tried is None else msgspec.to_builtins(tried),
            "last_error_message": messages[-1] if messages else None,
            # What the car said when it was asked at the end; null = it did not answer in time.
            "diagnostics": fresh,
            "vehicle": snapshot(vehicle),
            "notes": [],
        }
    )


def snapshot(vehicle: Vehicle | None) -> dict[str, Any]:
    """The car as it stands, for an attempt and for the ticket."""
    if vehicle is None:
        return {"known": False}
    return _plain(
        {
            "known": True,
            "model": vehicle.model,
            "firmware": vehicle.firmware,
            "online": vehicle.ready,
            "presence": vehicle.presence,
            "last_seen_at": vehicle.last_seen_at,
            "signal_pct": vehicle.signal_pct,
            "status": vehicle.status,
            "reported_seq": vehicle.reported_seq,
            "reported_values": vehicle.reported_values,
        }
    )


def _plain(value: Any) -> Any:
    """JSON without the driver's types."""
    return msgspec.to_builtins(value, enc_hook=str)
