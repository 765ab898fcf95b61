"""Registration (matriculación): filed by itself once paid, tried again, or handed to staff."""

from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

import core.log
from api.billing.jobs import RefundPayment
from api.customers import service as customers
from api.deps import ApiDeps
from api.orders import authority, repository, rules
from api.orders.authority import Answer, Filing, NoAnswer, Papers, Refused, UnderReview
from api.orders.jobs import RegisterVehicle
from api.orders.lifecycle import OrderEvent, OrderState, RegistrationEvent, RegistrationState
from api.orders.notices import tell_customer, tell_staff
from api.orders.repository import Order
from api.orders.schemas import RegistrationRetryIn
from api.orders.transitions import move_order, move_registration, note_start
from core.contracts.jobs import RequestActivation
from core.contracts.states import Origin
from core.db import Connection, load_queries
from core.errors import Conflict
from core.ids import new_id
from core.jobs import defer

log = core.log.get(__name__)
_SQL = load_queries("api.orders", "registration.sql")
ACTOR = "authority"


@dataclass(frozen=True, slots=True)
class Registration:
    """A row of orders.registration."""

    order_id: UUID
    vin: str
    state: str
    country: str
    authority: str
    details: dict[str, Any]
    attempts: int
    case_reference: str | None
    license_plate: str | None
    registration_number: str | None
    registration_date: date | None
    expiry_date: date | None
    certificate_url: str | None
    environmental_badge: str | None
    error_code: str | None
    started_at: datetime


async def find(conn: Connection, order_id: UUID) -> Registration | None:
    """The order's registration; None before it is paid."""
    return await conn.one_or_none(Registration, _SQL["registration"], {"order_id": order_id})


async def order_under_review(conn: Connection, reference: str, vin: str) -> UUID | None:
    """The order whose registration a notice is about.

    By its VIN too: a notice can overtake the commit that writes the authority's reference.
    """
    return await conn.value(_SQL["by_reference"], {"reference": reference, "vin": vin})


async def start(conn: Connection, order: Order, now: datetime) -> None:
    """The vehicle is paid: open the registration and have it filed."""
    assert order.vin is not None
    customer = await customers.get(conn, order.customer_id)
    await conn.execute(
        _SQL["insert"],
        {
            "order_id": order.order_id,
            "vin": order.vin,
            "state": RegistrationState.PENDING.value,
            "country": customer.country,
            "authority": rules.authority_for(customer.country).value,
            "at": now,
        },
    )
    await note_start(
        conn, "registration", order.order_id, RegistrationState.PENDING, at=now, actor=ACTOR
    )
    await move_registration(conn, order.order_id, RegistrationEvent.PAID, at=now, actor=ACTOR)
    await defer(conn, RegisterVehicle(order_id=order.order_id))


async def work(deps: ApiDeps, job: RegisterVehicle) -> None:
    """File it, or ask how its review stands; write what the authority says. Idempotent."""
    async with deps.database.transaction() as conn:
        prepared = await _prepare(conn, deps, job.order_id)
    if prepared is None:
        return
    case, filing = prepared
    client = deps.partners.authority
    if case.case_reference is not None:
        answer = await authority.look_up(client, case.case_reference)
    else:
        answer = await authority.file(client, case.authority, filing)
    async with deps.database.transaction() as conn:
        order = await repository.lock(conn, job.order_id)
        case = await find(conn, job.order_id)
        if case is None or case.state != RegistrationState.IN_PROGRESS:
            return
        await _audit(conn, filing, answer, deps.clock.now())
        await _write(conn, deps, order, case, answer)


async def retry(
    conn: Connection, order: Order, body: RegistrationRetryIn, *, actor: str, now: datetime
) -> None:
    """Staff has put right what was wrong: file again, with the country the customer has now."""
    case = await find(conn, order.order_id)
    if case is None or case.state != RegistrationState.MANUAL:
        raise Conflict("NOT_IN_MANUAL_INTERVENTION", "this registration does not wait for staff")
    if body.impossible:
        await _impossible(conn, order, actor=actor, now=now)
        return
    if body.tax_id is not None:
        await customers.correct_tax_id(conn, order.customer_id, body.tax_id, now)
    customer = await customers.get(conn, order.customer_id)
    given = body.model_dump(include={"tuv_reference", "regional_office"}, by_alias=True)
    await conn.execute(
        _SQL["start_again"],
        {
            "order_id": order.order_id,
            "country": customer.country,
            "authority": rules.authority_for(customer.country).value,
            "details": Jsonb({name: value for name, value in given.items() if value}),
            "at": now,
        },
    )
    await move_registration(
        conn, order.order_id, RegistrationEvent.STAFF_FIXED, at=now, actor=actor
    )
    await defer(conn, RegisterVehicle(order_id=order.order_id))


async def tell_late(conn: Connection, before: datetime) -> None:
    """Tell customers whose registration was started before ``before`` and is not done."""
    for row in await conn.dicts(_SQL["late"], {"before": before}):
        order = await repository.get(conn, row["order_id"])
        await tell_customer(conn, order, "registration_delayed")
        await conn.execute(_SQL["note_told"], {"order_id": order.order_id})


async def _prepare(
    conn: Connection, deps: ApiDeps, order_id: UUID
) -> tuple[Registration, Filing] | None:
    order = await repository.lock(conn, order_id)
    case = await find(conn, order_id)
    if case is None or order.state is not OrderState.PAID:
        return None
    if case.state == RegistrationState.RETRY:
        await move_registration(
            conn, order_id, RegistrationEvent.RETRY_DUE, at=deps.clock.now(), actor=ACTOR
        )
    elif case.state != RegistrationState.IN_PROGRESS:
        return None
    platform = await repository.platform(conn, order.platform)
    assert platform is not None
    return case, Filing(
        order=order,
        customer=await customers.get(conn, order.customer_id),
        dealership=await customers.dealership(conn, order.dealership_id),
        platform=platform,
        manufacturer=deps.settings.sale.manufacturer,
        details=case.details,
    )


async def _write(
    conn: Connection, deps: ApiDeps, order: Order, case: Registration, answer: Answer
) -> None:
    now = deps.clock.now()
    match answer:
        case Papers():
            await _registered(conn, order, answer, now)
        case UnderReview():
            await conn.execute(
                _SQL["under_review"],
                {"order_id": order.order_id, "reference": answer.reference, "at": now},
            )
            wait = timedelta(seconds=deps.settings.sale.registration_poll_s)
            await defer(conn, RegisterVehicle(order_id=order.order_id), at=now + wait)
        case Refused():
            if answer.alert:
                log.critical("authority refuses our credentials", order_id=str(order.order_id))
            await _to_staff(conn, order, answer.code, answer.message, now)
        case NoAnswer():
            await _no_answer(conn, deps, order, case, answer, now)


async def _registered(conn: Connection, order: Order, papers: Papers, now: datetime) -> None:
    """Plate and papers to the file; the plan's options go to the car (DOMAIN 6)."""
    await conn.execute(
        _SQL["registered"], {"order_id": order.order_id, "at": now, **asdict(papers)}
    )
    await move_registration(conn, order.order_id, RegistrationEvent.OK, at=now, actor=ACTOR)
    await move_order(
        conn,
        order.order_id,
        OrderEvent.REGISTRATION_OK,
        at=now,
        actor=ACTOR,
        detail={"license_plate": papers.license_plate},
    )
    await tell_customer(conn, order, "registered", license_plate=papers.license_plate)
    assert order.vin is not None
    for code in order.plan_options:
        await defer(
            conn,
            RequestActivation(
                activation_id=new_id(),
                vin=order.vin,
                service_code=code,
                origin=Origin.PLAN,
                purchased_at=now,
                customer_id=order.customer_id,
                order_id=order.order_id,
                paid=False,
            ),
        )


async def _no_answer(
    conn: Connection,
    deps: ApiDeps,
    order: Order,
    case: Registration,
    answer: NoAnswer,
    now: datetime,
) -> None:
    waits = deps.settings.sale.registration_waits_s
    attempts = case.attempts + 1
    await conn.execute(
        _SQL["attempted"], {"order_id": order.order_id, "attempts": attempts, "at": now}
    )
    if attempts > len(waits):
        await _to_staff(conn, order, "AUTHORITY_UNAVAILABLE", answer.message, now)
        return
    await move_registration(
        conn,
        order.order_id,
        RegistrationEvent.TRANSIENT_ERROR,
        at=now,
        actor=ACTOR,
        detail={"attempt": attempts, "error": answer.message},
    )
    wait = timedelta(seconds=waits[attempts - 1])
    await defer(conn, RegisterVehicle(order_id=order.order_id), at=now + wait)


async def _to_staff(conn: Connection, order: Order, code: str, message: str, now: datetime) -> None:
    await conn.execute(_SQL["failed"], {"order_id": order.order_id, "error_code": code, "at": now})
    detail = {"code": code, "message": message}
    for event in (RegistrationEvent.DEFINITIVE_ERROR, RegistrationEvent.HANDED_TO_STAFF):
        await move_registration(conn, order.order_id, event, at=now, actor=ACTOR, detail=detail)
    await tell_staff(conn, order, "registration_problem", key=now.isoformat(), **detail)


async def _impossible(conn: Connection, order: Order, *, actor: str, now: datetime) -> None:
    """The only refund of a vehicle: the sale ends, and all that was paid goes back."""
    await move_order(conn, order.order_id, OrderEvent.REGISTRATION_IMPOSSIBLE, at=now, actor=actor)
    for payment_id in (order.deposit_payment_id, order.final_payment_id):
        if payment_id is not None:
            await defer(
                conn, RefundPayment(payment_id=payment_id, reason="REGISTRATION_IMPOSSIBLE")
            )
    await repository.run(conn, "clear_vin", order_id=order.order_id, at=now)
    await repository.run(conn, "to_stock", vin=order.vin, at=now)
    await tell_customer(conn, order, "cancellation", reason="REGISTRATION_IMPOSSIBLE")


async def _audit(conn: Connection, filing: Filing, answer: Answer, now: datetime) -> None:
    sent = authority.without_personal_data(authority.body(filing))
    await conn.execute(
        _SQL["audit"],
        {
            "at": now,
            "vin": filing.order.vin,
            "customer_id": filing.order.customer_id,
            "country_code": filing.customer.country,
            "result": type(answer).__name__,
            "license_plate": answer.license_plate if isinstance(answer, Papers) else None,
            "request": Jsonb(sent),
            "response": Jsonb(
                {name: str(value) for name, value in asdict(answer).items() if value}
            ),
            "error_code": answer.code if isinstance(answer, Refused) else None,
        },
    )
