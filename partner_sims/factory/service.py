"""Orders and their way through the plant, each step saved together with its webhook."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from core.clock import rfc3339
from partner_sims.errors import PartnerError
from partner_sims.factory import rules
from partner_sims.factory.schemas import OrderIn, VinPoolIn
from partner_sims.faults.service import Fault
from partner_sims.sims import Sims

WEBHOOK_PATH = "/api/v1/webhooks/factory/status"
STEP_DUE = "factory.step"
# The 201 should reach its caller before the first webhook does.
_FIRST_WEBHOOK_S = 1.0
# How often an order looks for a car while none of its platform is on the lot.
_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Order:
    """A row of factory_orders, with the car it got."""

    order_id: str
    platform: str
    dealership_id: str
    status: str
    estimated_delivery_date: str
    manufacturing_location: str
    created_at: str
    vin: str | None
    firmware_version: str | None


@dataclass(frozen=True, slots=True)
class Step:
    """A status and when it was reached."""

    status: str
    timestamp: str


@dataclass(frozen=True, slots=True)
class PoolVehicle:
    """A row of vin_pool."""

    vin: str
    platform: str
    firmware_version: str | None
    order_id: str | None


def install(sims: Sims) -> None:
    """Take over the factory's timers."""
    sims.due.on(STEP_DUE, lambda order_id: advance(sims, order_id))


def place(sims: Sims, body: OrderIn, idempotency_key: str | None, declined: Fault | None) -> Order:
    """Accept an order, or find the one this key placed before; PartnerError 400 if unbuildable."""
    if idempotency_key is not None:
        earlier = sims.store.one(Order, "factory_order_by_key", idempotency_key=idempotency_key)
        if earlier is not None:
            return earlier
    _check(sims, body, declined)
    now = sims.now()
    number = sims.store.next_number(f"factory-{now.year}")
    order = Order(
        order_id=f"FAC-{now.year}-{number:06d}",
        platform=body.vehicle_specification.platform_base,
        dealership_id=body.dealership_id,
        status=rules.ORDERED,
        estimated_delivery_date=(now.date() + timedelta(days=rules.BUILD_DAYS)).isoformat(),
        manufacturing_location=rules.PLANT,
        created_at=rfc3339(now),
        vin=None,
        firmware_version=None,
    )
    sims.store.run(
        "factory_order_insert",
        order_id=order.order_id,
        idempotency_key=idempotency_key,
        platform=order.platform,
        dealership_id=order.dealership_id,
        request=body.model_dump_json(),
        status=order.status,
        estimated_delivery_date=order.estimated_delivery_date,
        manufacturing_location=order.manufacturing_location,
        created_at=order.created_at,
    )
    _note_step(sims, order, now)
    _report(
        sims, order, order.status, now, delay_s=min(sims.settings.step_delay_s, _FIRST_WEBHOOK_S)
    )
    sims.due.after(sims.settings.step_delay_s, STEP_DUE, order.order_id)
    return order


def find(sims: Sims, order_id: str) -> Order:
    """The order, else PartnerError 404."""
    order = sims.store.one(Order, "factory_order_get", order_id=order_id)
    if order is None:
        raise PartnerError(404, "ORDER_NOT_FOUND", "no such order", details={"order_id": order_id})
    return order


def steps(sims: Sims, order_id: str) -> list[Step]:
    """The order's history, oldest first."""
    return sims.store.all(Step, "factory_steps", order_id=order_id)


def add_vins(sims: Sims, body: VinPoolIn) -> int:
    """Put cars on the lot; those already known stay as they are. The number of new ones."""
    added = 0
    for vin in body.vins:
        added += sims.store.run(
            "vin_add", vin=vin, platform=body.platform, firmware_version=body.firmware
        )
    return added


def pool(sims: Sims) -> list[PoolVehicle]:
    """Every car that was ever on the lot."""
    return sims.store.all(PoolVehicle, "vin_list")


def advance(sims: Sims, order_id: str) -> None:
    """The order's next step, if it can be taken now."""
    order = find(sims, order_id)
    if _is_delayed(sims, order):
        return
    quality = sims.faults.take("factory", ("quality_fail",), f"{order_id} {order.status}")
    if quality is not None and order.status != rules.QUALITY_CHECK:
        sims.faults.put(quality)  # It waits for the check.
        quality = None
    target = rules.next_step(order.status, quality_passed=quality is None)
    if target is None:
        return
    if target == rules.SHIPPED and not _assign_vin(sims, order):
        sims.due.after(min(sims.settings.step_delay_s, _LOOK_AGAIN_S), STEP_DUE, order_id)
        return
    now = sims.now()
    sims.store.run("factory_order_status", order_id=order_id, status=target)
    moved = find(sims, order_id)
    _note_step(sims, moved, now)
    _report(sims, moved, target, now)
    if rules.next_step(target) is not None:
        sims.due.after(sims.settings.step_delay_s, STEP_DUE, order_id)


def _check(sims: Sims, body: OrderIn, declined: Fault | None) -> None:
    specification = body.vehicle_specification
    known = {*sims.settings.platforms, *(vehicle.platform for vehicle in pool(sims))}
    wrong = rules.check_options(
        specification.platform_base,
        specification.initial_options,
        body.plan_comercial.opciones_permanentes,
        known,
    )
    if declined is not None:
        wrong = rules.Fault("vehicle_specification", "the factory will not build this")
    if wrong is not None:
        code = (declined.code if declined else None) or "INVALID_SPECIFICATION"
        raise PartnerError(400, code, wrong.message, details={"field": wrong.field})


def _is_delayed(sims: Sims, order: Order) -> bool:
    """DELAYED only changes the date: the status stays, the step comes later (DOMAIN 10)."""
    fault = sims.faults.take("factory", ("delayed",), f"{order.order_id} {order.status}")
    if fault is None:
        return False
    later = date.fromisoformat(order.estimated_delivery_date) + timedelta(days=rules.DELAY_DAYS)
    sims.store.run("factory_order_date", order_id=order.order_id, estimated=later.isoformat())
    _report(sims, find(sims, order.order_id), rules.DELAYED, sims.now())
    sims.due.after(sims.settings.step_delay_s, STEP_DUE, order.order_id)
    return True


def _assign_vin(sims: Sims, order: Order) -> bool:
    return sims.store.run("vin_assign", platform=order.platform, order_id=order.order_id) > 0


def _note_step(sims: Sims, order: Order, at: datetime) -> None:
    sims.store.run(
        "factory_step_insert", order_id=order.order_id, status=order.status, timestamp=rfc3339(at)
    )


def _report(sims: Sims, order: Order, status: str, at: datetime, *, delay_s: float = 0.0) -> None:
    body: dict[str, Any] = {
        "order_id": order.order_id,
        "status": status,
        "timestamp": rfc3339(at),
        "estimated_completion_date": order.estimated_delivery_date,
        "notes": rules.NOTES[status],
        "location": rules.location(order.status, order.dealership_id),
    }
    body.update(shipment(order))
    sims.outbox.put("factory", WEBHOOK_PATH, body, at, delay_s=delay_s)


def shipment(order: Order) -> dict[str, Any]:
    """What is known once the car has left: VIN, firmware, transporter."""
    if not rules.has_left(order.status):
        return {}
    return {
        "vin": order.vin,
        "firmware_version": order.firmware_version,
        "transport_company": rules.TRANSPORT_COMPANY,
    }
