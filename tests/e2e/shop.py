"""What a customer does after the sale: buys, and looks how far it is."""

from typing import Any

from caas.story.client import wait_for
from caas.story.sale import deliver, manufacture, sell
from caas.story.scene import Scene


async def sold(scene: Scene) -> Scene:
    """From the sale to the linked car."""
    await sell(scene)
    await manufacture(scene)
    await deliver(scene)
    return scene


async def buy(scene: Scene, code: str) -> str:
    """Buy a service for a week; the activation's id."""
    answer = await scene.customer.post(
        "/api/v1/services/purchase",
        {
            "vin": scene.vin,
            "serviceId": code,
            "tier": "WEEK",
            "schedule": {"type": "IMMEDIATE"},
            "paymentToken": await scene.card_token(),
        },
    )
    return answer["activationId"]


async def activation(scene: Scene, activation_id: str, **wanted: str) -> dict[str, Any]:
    """The activation once it shows what is wanted: ``state="ACTIVE"``."""
    return await wait_for(
        f"an activation with {wanted}",
        lambda: scene.customer.get(f"/api/v1/activations/{activation_id}"),
        lambda seen: all(seen[name] == value for name, value in wanted.items()),
        within_s=60.0,
    )


async def captured(scene: Scene, activation_id: str) -> list[str]:
    """What the payment gateway did with its money, once that is taken."""
    return await wait_for(
        "the capture", lambda: scene.ledger(activation_id), lambda moves: "CAPTURE" in moves
    )


async def car_shows(scene: Scene, **wanted: str) -> dict[str, Any]:
    """The car in its owner's app, once it shows what is wanted: ``connectivity="ONLINE"``."""
    return await wait_for(
        f"the car with {wanted}",
        lambda: scene.customer.get(f"/api/v1/mobile/vehicles/{scene.vin}/status"),
        lambda seen: all(seen[name] == value for name, value in wanted.items()),
    )
