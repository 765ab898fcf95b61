"""The first half of the story: a car is sold, made, paid, registered, handed over and linked."""

from typing import Any

from caas.story.client import Refused, wait_for
from caas.story.scene import Scene, text_between
from core.clock import SystemClock, rfc3339

CUSTOMER_PASSWORD = "my-own-password-1"  # noqa: S105 - of a customer who does not exist
STEPS = {
    "IN_PRODUCTION",
    "ASSEMBLY_COMPLETE",
    "QUALITY_CHECK",
    "READY_FOR_SHIPMENT",
    "SHIPPED",
    "ARRIVED_AT_DEALERSHIP",
}
ADDRESS = {"street": "Calle de Alcalá 1", "city": "Madrid", "postalCode": "28014", "country": "ES"}


async def sell(scene: Scene) -> None:
    """Registered by sales, credentials by e-mail, the deposit paid (DOMAIN 2, 10)."""
    timeline = scene.timeline
    timeline.chapter("A sale")
    order = await scene.sales.post("/api/v1/intranet/orders", _order(scene))
    scene.order_id = order["orderId"]
    timeline.check(order["status"] == "SALE_REGISTERED", f"sale {order['number']} is registered")
    scene.strike("sale registered")

    mail = await scene.mail("CaaS account")
    timeline.step(f"the customer's credentials came by e-mail: {mail['subject']!r}")
    await wait_for("the activation link", lambda: _activate(scene), bool)
    username = text_between(mail["text"], r"User name: (\S+)")
    scene.customer = await scene.login(username, CUSTOMER_PASSWORD)
    timeline.step(f"{username} has set a password and logged in")

    paid = await scene.sales.post(
        f"/api/v1/intranet/orders/{scene.order_id}/payments",
        {"type": "RESERVATION", "paymentToken": await scene.card_token(), "method": "DEALERSHIP"},
    )
    timeline.check(paid["state"] == "CONFIRMED", "the deposit is paid", paid)


async def manufacture(scene: Scene) -> None:
    """The factory takes the order and reports every step by signed webhook (DOMAIN 10, 17)."""
    timeline = scene.timeline
    timeline.chapter("The factory")
    order = await _order_in(scene, "ORDERED", "IN_PRODUCTION", "AWAITING_FINAL_PAYMENT")
    timeline.step(f"the factory has taken it as {order['factoryOrderId']}")
    scene.strike("order at the factory")
    order = await _order_in(scene, "AWAITING_FINAL_PAYMENT")
    # A report that found nobody in is sent again later: all come, not always in order.
    reported = await wait_for(
        "every manufacturing step", lambda: _reported(scene), lambda seen: seen >= STEPS
    )
    timeline.check(reported >= STEPS, "every manufacturing step is in the file", reported)
    scene.vin = order["vin"]
    timeline.check(bool(scene.vin), f"the car has arrived: {scene.vin}")


async def deliver(scene: Scene) -> None:
    """Final payment, plates, handover, and the app linked by the car itself (DOMAIN 10)."""
    timeline = scene.timeline
    timeline.chapter("The handover")
    paid = await scene.customer.post(
        f"/api/v1/orders/{scene.order_id}/final-payment",
        {"paymentToken": await scene.card_token()},
    )
    timeline.check(paid["state"] == "CONFIRMED", "the final payment is made", paid)
    scene.strike("final payment made")
    order = await _order_in(scene, "REGISTERED")
    timeline.check(bool(order["licensePlate"]), f"registered as {order['licensePlate']}")
    for body in (
        {"action": "CHOOSE_PICKUP"},
        {"action": "SCHEDULE_PICKUP", "scheduledAt": rfc3339(SystemClock().now())},
        {"action": "HANDOVER", "identityChecked": True},
    ):
        await scene.sales.put(f"/api/v1/intranet/orders/{scene.order_id}/delivery", body)
    await _order_in(scene, "DELIVERED")
    timeline.step("keys and papers are handed over")
    await scene.customer.post(f"/api/v1/mobile/vehicles/{scene.vin}/link")
    await _order_in(scene, "OPERATIONAL")
    timeline.check(True, "the driver confirmed on the car's own screen: the app is linked")


async def _activate(scene: Scene) -> bool:
    """Follow the newest mail's link: a worker that died while sending sends again, and only the
    last one counts."""
    mail = await scene.mail("CaaS account")
    token = text_between(mail["text"], r"[?&]token=([\w.~-]+)")
    try:
        await scene.visitor.post(
            "/api/v1/auth/activate", {"token": token, "newPassword": CUSTOMER_PASSWORD}
        )
    except Refused as refused:
        if refused.code == "ACTIVATION_INVALID":
            return False
        raise
    return True


async def _reported(scene: Scene) -> set[str]:
    timeline = await scene.customer.get(f"/api/v1/orders/{scene.order_id}/timeline")
    return {item["status"] for item in timeline["items"] if item["kind"] == "factory"}


async def _order_in(scene: Scene, *states: str) -> dict[str, Any]:
    return await wait_for(
        f"order {' or '.join(states)}",
        lambda: scene.customer.get(f"/api/v1/orders/{scene.order_id}"),
        lambda order: order["status"] in states,
        within_s=60.0,
    )


def _order(scene: Scene) -> dict[str, Any]:
    return {
        "customer": {
            "name": "Lucía Fernández",
            "email": scene.customer_mail,
            "phone": "+34 600 000 000",
            "address": ADDRESS,
            "taxId": "12345678Z",
            "language": "en",
            "timeZone": "Europe/Madrid",
        },
        "platform": scene.platform,
        "plan": {
            "initialOptions": [],
            "permanentOptions": ["PREMIUM_ENTERTAINMENT"],
            "color": "blue",
            "interior": "black",
            "maintenanceIncluded": True,
            "maintenanceYears": 3,
            "warrantyYears": 3,
        },
        "deliveryAddress": ADDRESS,
    }
