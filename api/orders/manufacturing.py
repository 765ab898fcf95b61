"""From the confirmed deposit to the car at the dealership: factory order and its steps."""

from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

import core.log
from api.billing.jobs import RefundPayment
from api.customers import service as customers
from api.deps import ApiDeps
from api.orders import factory, payments, repository, rules
from api.orders.jobs import ApplyFactoryStatus, SubmitFactoryOrder
from api.orders.lifecycle import ORDER, OrderEvent, OrderState
from api.orders.notices import tell_customer, tell_staff
from api.orders.repository import Order
from api.orders.schemas import FactoryStatusIn
from api.orders.settings import SaleSettings
from api.orders.transitions import move_order
from core.contracts.jobs import EnrollVehicle
from core.db import Connection
from core.errors import Conflict, Invalid
from core.ids import parse_vin
from core.jobs import defer

log = core.log.get(__name__)

ACTOR = "factory"
_MAY_SUBMIT = (OrderState.RESERVED, OrderState.PENDING_FACTORY_SUBMISSION)


async def submit(deps: ApiDeps, job: SubmitFactoryOrder) -> None:
    """Order the car at the factory, once; what goes wrong waits for staff (DOMAIN 10)."""
    async with deps.database.transaction() as conn:
        order = await repository.get(conn, job.order_id)
        if order.state not in _MAY_SUBMIT:
            return
        dealership = await customers.dealership(conn, order.dealership_id)
    answer = await factory.place(deps.partners.factory, order, dealership.code)
    now = deps.clock.now()
    async with deps.database.transaction() as conn:
        order = await repository.lock(conn, job.order_id)
        if order.state not in _MAY_SUBMIT:
            return
        if isinstance(answer, factory.Accepted):
            await _accepted(conn, order, answer, now)
        else:
            await _not_accepted(conn, order, answer, now)


async def resubmit(conn: Connection, order: Order) -> None:
    """Staff sends an order again that the factory did not take."""
    if order.state is not OrderState.PENDING_FACTORY_SUBMISSION:
        raise Conflict("NOT_PENDING", f"an order in {order.status} is not to be submitted")
    await defer(conn, SubmitFactoryOrder(order_id=order.order_id))


async def give_up(
    conn: Connection, order: Order, *, actor: str, reason: str, now: datetime
) -> None:
    """The factory's no is definitive: the sale ends and the deposit goes back."""
    await move_order(
        conn,
        order.order_id,
        OrderEvent.FACTORY_REFUSED,
        at=now,
        actor=actor,
        detail={"reason": reason},
    )
    if order.deposit_payment_id is not None:
        await defer(
            conn, RefundPayment(payment_id=order.deposit_payment_id, reason="FACTORY_REFUSED")
        )
    await tell_customer(conn, order, "cancellation", reason="FACTORY_REFUSED")


async def apply_status(deps: ApiDeps, job: ApplyFactoryStatus) -> None:
    """Bring a reported step to the order: state, date, VIN, notices. Idempotent."""
    report = FactoryStatusIn.model_validate(job.body)
    now = deps.clock.now()
    async with deps.database.transaction() as conn:
        order = await repository.lock(conn, job.order_id)
        if not await _note_step(conn, order, report, now):
            return
        if report.vin is not None and order.vin is None:
            order = await _built(conn, order, report, now)
        for event in rules.order_events(order.state, report.status):
            if event is OrderEvent.ARRIVED_AT_DEALERSHIP and order.vin is None:
                raise Invalid("VIN_MISSING", f"{order.number} has arrived without a VIN")
            await move_order(
                conn,
                order.order_id,
                event,
                at=now,
                actor=ACTOR,
                detail={"factory_status": report.status},
            )
            if event is OrderEvent.ARRIVED_AT_DEALERSHIP:
                await _arrived(conn, order, deps.settings.sale, now)
        await _tell_step(conn, order, report)


async def _accepted(
    conn: Connection, order: Order, answer: factory.Accepted, now: datetime
) -> None:
    await move_order(
        conn,
        order.order_id,
        OrderEvent.FACTORY_ACCEPTED,
        at=now,
        actor=ACTOR,
        detail={"factory_order_id": answer.order_id},
    )
    await repository.run(
        conn,
        "factory_accepted",
        order_id=order.order_id,
        factory_order_id=answer.order_id,
        factory_status=answer.status,
        estimated_delivery_date=answer.estimated_delivery_date,
        manufacturing_location=answer.manufacturing_location,
        at=now,
    )
    estimated = answer.estimated_delivery_date
    await tell_customer(
        conn,
        order,
        "order_placed",
        estimated_delivery_date=estimated.isoformat() if estimated else None,
    )


async def _not_accepted(
    conn: Connection, order: Order, answer: factory.NotAccepted, now: datetime
) -> None:
    (log.critical if answer.alert else log.error)(
        "factory order not accepted",
        order_id=str(order.order_id),
        code=answer.code,
        error=answer.message,
    )
    detail: dict[str, Any] = {"code": answer.code, "message": answer.message}
    if ORDER.allows(order.state, OrderEvent.FACTORY_NOT_ACCEPTED):
        await move_order(
            conn,
            order.order_id,
            OrderEvent.FACTORY_NOT_ACCEPTED,
            at=now,
            actor=ACTOR,
            detail=detail,
        )
    await repository.run(
        conn,
        "factory_error",
        order_id=order.order_id,
        error=f"{answer.code}: {answer.message}",
        at=now,
    )
    await tell_customer(conn, order, "factory_problem")
    await tell_staff(conn, order, "factory_problem", key=now.isoformat(), **detail)


async def _note_step(
    conn: Connection, order: Order, report: FactoryStatusIn, now: datetime
) -> bool:
    """Write the step to the timeline; False where it is there already."""
    row: dict[str, Any] = {
        "order_id": order.order_id,
        "status": report.status,
        "at": report.timestamp,
        "estimated_completion_date": report.estimated_completion_date,
        "received_at": now,
    }
    if not await repository.run(
        conn, "insert_step", notes=report.notes, location=report.location, **row
    ):
        return False
    if report.status == rules.DELAYED:
        row["status"] = order.factory_status  # it only changes the date
    await repository.run(conn, "factory_reported", **row)
    return True


async def _built(conn: Connection, order: Order, report: FactoryStatusIn, now: datetime) -> Order:
    """The shipment notice carries the VIN: the car exists, and the gateway must know it."""
    assert report.vin is not None
    vin = parse_vin(report.vin)
    platform = await repository.platform(conn, order.platform)
    assert platform is not None
    firmware = report.firmware_version or platform.firmware_version
    await repository.run(
        conn,
        "insert_built_vehicle",
        vin=vin,
        model=order.platform,
        firmware_version=firmware,
        customer_id=order.customer_id,
        dealership_id=order.dealership_id,
        base_configuration=Jsonb(
            {"color": order.plan["color"], "interior": order.plan["interior"]}
        ),
        manufactured_at=report.timestamp,
    )
    await repository.run(conn, "set_vin", order_id=order.order_id, vin=vin, at=now)
    await defer(conn, EnrollVehicle(vin=vin, model=order.platform, firmware=firmware))
    return await repository.get(conn, order.order_id)


async def _arrived(conn: Connection, order: Order, settings: SaleSettings, now: datetime) -> None:
    await repository.run(conn, "vehicle_arrived", vin=order.vin, at=now)
    await payments.await_final_payment(conn, order, settings, now)


async def _tell_step(conn: Connection, order: Order, report: FactoryStatusIn) -> None:
    estimated = report.estimated_completion_date
    await tell_customer(
        conn,
        order,
        "manufacturing_step",
        key=f"{report.status}:{report.timestamp.isoformat()}",
        status=report.status,
        notes=report.notes,
        location=report.location,
        estimated_delivery_date=estimated.isoformat() if estimated else None,
    )


async def order_of(conn: Connection, factory_order_id: str) -> UUID | None:
    """Our order for the factory's number."""
    return await repository.id_by_factory_id(conn, factory_order_id)
