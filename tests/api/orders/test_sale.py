"""A sale over HTTP, from the saved order to the linked app, with real partners on the line."""

from core.contracts.jobs import LinkConfirmed
from core.ids import new_id
from core.jobs import defer
from tests.api.orders import steps
from tests.api.orders.steps import SALES, VIN
from tests.api.world import DECLINED_CARD, World, until


async def test_a_saved_sale_has_account_deposit_and_no_password(world: World) -> None:
    order = await steps.sell(world)
    assert order["status"] == "SALE_REGISTERED"
    assert order["depositMinor"] * 10 == order["totalMinor"]
    users = await world.rows(
        "SELECT username, password_hash FROM customers.user_account WHERE role = 'CUSTOMER'"
    )
    assert users == [{"username": "eva.ruiz@example.com", "password_hash": None}]
    again = await world.client.post(
        "/intranet/orders", json=steps.order_body(), headers=await world.token(SALES)
    )
    assert (again.status_code, again.json()["error"]["code"]) == (409, "CUSTOMER_EXISTS")


async def test_a_plan_the_car_cannot_have_is_refused(world: World) -> None:
    plan = {**steps.PLAN, "permanentOptions": ["HIGHWAY_AUTOPILOT", "NO_SUCH_OPTION"]}
    answer = await world.client.post(
        "/intranet/orders",
        json=steps.order_body(platform="BOREAL", plan=plan),
        headers=await world.token(SALES),
    )
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "INVALID_PLAN"
    assert error["details"]["options"] == {
        "HIGHWAY_AUTOPILOT": "needs firmware 2.3",
        "NO_SUCH_OPTION": "no such option",
    }


async def test_a_declined_deposit_may_be_tried_again_and_is_taken_once(world: World) -> None:
    order = await steps.sell(world)
    declined = await steps.pay(world, order, "RESERVATION", card=DECLINED_CARD, key="deposit-1")
    assert declined.json()["state"] == "FAILED"
    assert declined.json()["orderStatus"] == "SALE_REGISTERED"
    first = await steps.pay(world, order, "RESERVATION", key="deposit-2")
    assert first.json()["state"] == "CONFIRMED"
    await steps.reached(world, order, "ORDERED")
    again = await steps.pay(world, order, "RESERVATION", key="deposit-2")
    assert again.json()["paymentId"] == first.json()["paymentId"]
    other = await steps.pay(world, order, "RESERVATION", key="deposit-3")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "PAYMENT_NOT_DUE")


async def test_a_sale_goes_all_the_way_to_operational(world: World) -> None:
    order = await steps.registered(world)
    assert order["licensePlate"]
    assert order["registrationState"] == "Registered"
    asked = await world.jobs("ota.request_activation")
    assert {(job["service_code"], job["origin"], job["paid"]) for job in asked} == {
        ("ADVANCED_CLIMATE", "PLAN", False),
        ("PREMIUM_ENTERTAINMENT", "PLAN", False),
    }
    assert [job["vin"] for job in await world.jobs("gateway.enroll_vehicle")] == [VIN]

    customer = await steps.customer_login(world, order)
    early = await world.client.post(f"/mobile/vehicles/{VIN}/link", headers=customer)
    assert (early.status_code, early.json()["error"]["code"]) == (409, "NOT_DELIVERED")

    unchecked = await steps.deliver(world, order, "HANDOVER")
    assert (unchecked.status_code, unchecked.json()["error"]["code"]) == (409, "NOT_ARRANGED")
    for action, more, state in (
        ("SET_TRANSPORT", {"transportCompany": "Ebro"}, "IN_TRANSIT_TO_CUSTOMER"),
        ("ARRIVED", {}, "DELIVERY_ATTEMPTED"),
        ("ABSENT", {"notes": "nobody home"}, "RETURNING_TO_DEALERSHIP"),
        ("RETURNED", {}, "AT_DEALERSHIP_AWAITING_PICKUP"),
        ("SCHEDULE_PICKUP", {"scheduledAt": "2026-06-01T10:00:00Z"}, "CUSTOMER_PICKUP_SCHEDULED"),
        ("HANDOVER", {"identityChecked": True}, "DELIVERED_TO_CUSTOMER"),
    ):
        answer = await steps.deliver(world, order, action, **more)
        assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == state
    assert (await steps.read(world, order))["status"] == "DELIVERED"

    link = await world.client.post(f"/mobile/vehicles/{VIN}/link", headers=customer)
    assert link.status_code == 202, link.text
    shown = await world.jobs("ota.show_on_display")
    assert shown[-1]["text"] == f"Link to the app of Eva Ruiz? code {link.json()['code']}"
    async with world.deps.database.transaction() as conn:
        await defer(conn, LinkConfirmed(vin=VIN, event_id=new_id(), at=world.clock.now()))
    await steps.reached(world, order, "OPERATIONAL")

    status = await world.client.get(f"/mobile/vehicles/{VIN}/status", headers=customer)
    assert status.json()["linked"] is True
    again = await world.client.post(f"/mobile/vehicles/{VIN}/link", headers=customer)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "ALREADY_LINKED")

    file = (await world.client.get("/expediente", headers=customer)).json()
    assert [item["status"] for item in file["orders"]] == ["OPERATIONAL"]
    assert {item["type"] for item in file["payments"]} == {"RESERVATION", "FINAL"}
    assert file["registrations"][0]["licensePlate"] == order["licensePlate"]
    timeline = await world.client.get(f"/orders/{order['orderId']}/timeline", headers=customer)
    states = [i["status"] for i in timeline.json()["items"] if i["kind"] == "order"]
    assert states == [
        "SALE_REGISTERED",
        "RESERVED",
        "ORDERED",
        "IN_PRODUCTION",
        "AWAITING_FINAL_PAYMENT",
        "PAID",
        "REGISTERED",
        "IN_DELIVERY",
        "DELIVERED",
        "OPERATIONAL",
    ]


async def test_a_wrong_code_or_a_late_confirmation_links_nothing(world: World) -> None:
    order = await steps.handed_over(world)
    customer = await steps.customer_login(world, order)
    await world.client.post(f"/mobile/vehicles/{VIN}/link", headers=customer)
    late = LinkConfirmed(vin=VIN, event_id=new_id(), at=world.clock.now())
    world.clock.advance(world.deps.settings.sale.link_code_s + 1)
    async with world.deps.database.transaction() as conn:
        await defer(conn, LinkConfirmed(vin=VIN, event_id=new_id(), at=late.at, code="abc"))
        await defer(conn, LinkConfirmed(vin=VIN, event_id=new_id(), at=world.clock.now()))

    async def worked_off() -> bool:
        return not await world.jobs("api.link_confirmed")

    await until(worked_off, what="both confirmations are read")
    assert (await steps.read(world, order))["status"] == "DELIVERED"


async def test_anothers_order_and_vehicle_are_closed(world: World) -> None:
    order = await steps.handed_over(world)
    other = await steps.sell(world, customer={**steps.CUSTOMER, "email": "other@example.com"})
    stranger = await steps.customer_login(world, other)
    for path in (f"/orders/{order['orderId']}", f"/orders/{order['orderId']}/timeline"):
        assert (await world.client.get(path, headers=stranger)).status_code == 404
    status = await world.client.get(f"/mobile/vehicles/{VIN}/status", headers=stranger)
    assert (status.status_code, status.json()["error"]["code"]) == (403, "NOT_OWNER")
    assert (
        await world.client.post(f"/mobile/vehicles/{VIN}/link", headers=stranger)
    ).status_code == 403
    staff_only = await world.client.get("/intranet/inventory", headers=stranger)
    assert (staff_only.status_code, staff_only.json()["error"]["code"]) == (403, "ROLE_FORBIDDEN")
    assert (await world.client.get("/expediente")).status_code == 401
