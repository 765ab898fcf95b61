"""Who is told what, as `Notify` jobs (DOMAIN 15)."""

from typing import Any

from core.contracts.jobs import Notify
from ota_engine.model import Activation
from ota_engine.unit import Unit

STARTED = "activation_started"
SUCCESS = "activation_success"
DEFERRED = "activation_deferred"
FAILED = "activation_failed"
MANUAL_SUCCESS = "manual_success"
PERMANENT_FAILURE = "permanent_failure"
EXPIRING = "expiring"
EXPIRED = "expired"
TICKET_CREATED = "ticket_created"


async def tell_customer(
    unit: Unit, activation: Activation, event: str, *, once_per: object = "", **data: Any
) -> None:
    """Once per activation and event (and ``once_per``); nobody is told of an ownerless car."""
    if activation.customer_id is None:
        return
    await unit.defer(
        Notify(
            activation_id=activation.activation_id,
            event=event,
            dedupe_key=f"{event}:{activation.activation_id}:{once_per}",
            customer_id=activation.customer_id,
            vin=activation.vin,
            data={"service_code": activation.service_code, **data},
        )
    )


async def tell_support(unit: Unit, activation: Activation, event: str, **data: Any) -> None:
    """Support staff, once per activation, event and ticket."""
    await unit.defer(
        Notify(
            activation_id=activation.activation_id,
            event=event,
            dedupe_key=f"{event}:{data.get('ticket_number', activation.activation_id)}",
            staff_role="SUPPORT",
            vin=activation.vin,
            data={"service_code": activation.service_code, **data},
        )
    )
