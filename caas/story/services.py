"""The second half: a service proved, one that fails and costs nothing, one given back."""

from collections.abc import Callable
from typing import Any

import psycopg

from caas.story.client import wait_for
from caas.story.scene import Scene

POWER = ("ENGINE_CONTROL", "power_mode")
MAX_STORY_WAIT_S = 60.0


async def buy_and_prove(scene: Scene) -> str:
    """Power +50 % for a week: held, commanded, deferred until parked, proved, captured once."""
    timeline = scene.timeline
    timeline.chapter("Power +50 % for a week")
    await scene.sim.post(f"/vehicles/{scene.vin}/drive")
    timeline.step("the car is driving")
    activation_id = await _purchase(scene, "PERF_BOOST_50")
    scene.strike("service bought")
    seen = await _activation_in(scene, activation_id, "WAITING_SAFE_STATE")
    timeline.check(
        seen["paymentState"] == "AUTHORIZED", "the payment is held, not taken", seen["paymentState"]
    )
    timeline.step("the car has verified the command and waits until it is parked")
    timeline.check(
        await scene.ledger(activation_id) == ["AUTHORISE"],
        "the payment gateway has a hold and nothing else",
        await scene.ledger(activation_id),
    )
    timeline.check(await scene.car_has(*POWER) == "NORMAL", "the car still has normal power")
    scene.strike("waiting for the car to park")
    await scene.sim.post(f"/vehicles/{scene.vin}/park")
    timeline.step("the car parks")
    seen = await _activation_in(scene, activation_id, "ACTIVE")
    timeline.check(await scene.car_has(*POWER) == "HIGH", "the car reports it: power is HIGH")
    scene.strike("service active")
    await _activation(
        scene, activation_id, "the capture", lambda a: a["paymentState"] in {"CAPTURED", "SETTLED"}
    )
    ledger = await scene.ledger(activation_id)
    timeline.check(ledger.count("CAPTURE") == 1, "the money is taken, once", ledger)
    history = [row["toState"] for row in seen["history"]]
    timeline.check(
        "WAITING_SAFE_STATE" in history and history[-1] == "ACTIVE",
        "the activation's history shows the way",
        history,
    )
    return activation_id


async def telemetry_is_stored(scene: Scene) -> None:
    """The car's samples are in the database (DOMAIN 8)."""

    async def count() -> int:
        async with await psycopg.AsyncConnection.connect(scene.doors.dsn) as conn:
            cursor = await conn.execute(
                "SELECT count(*) FROM telemetry.sample_v1 WHERE vin = %s", (scene.vin,)
            )
            row = await cursor.fetchone()
            return int(row[0]) if row else 0

    samples = await wait_for("telemetry", count, lambda n: n > 0, within_s=MAX_STORY_WAIT_S)
    scene.timeline.check(samples > 0, f"{samples} telemetry samples of the car are stored")


async def refuse_and_not_charge(scene: Scene) -> None:
    """A car that refuses: retries, ticket, void, "not charged" (DOMAIN 7, S1)."""
    timeline = scene.timeline
    timeline.chapter("A service that cannot be delivered")
    await scene.sim.put(f"/vehicles/{scene.vin}/faults", {"refuse": "BUSY"})
    timeline.step("the car is made to refuse everything")
    activation_id = await _purchase(scene, "ADVANCED_CLIMATE")
    await _activation(scene, activation_id, "a first attempt", lambda a: len(a["attempts"]) > 0)
    scene.strike("the car refuses")
    seen = await _activation_in(scene, activation_id, "FAILED_NO_CHARGE")
    attempts = [a for a in seen["attempts"] if a["direction"] == "ON"]
    timeline.check(
        len(attempts) == scene.doors.max_retries + 1,
        f"{len(attempts)} attempts were made, then no more",
        attempts,
    )
    timeline.check(bool(seen["ticketNumber"]), f"ticket {seen['ticketNumber']} has the whole case")
    ledger = await scene.ledger(activation_id)
    timeline.check(
        "VOID" in ledger and "CAPTURE" not in ledger, "the hold is released, nothing taken", ledger
    )
    # A plan's option that the car refuses as well has a mail and a ticket of its own.
    mail = await scene.mail("not charged", containing=seen["ticketNumber"])
    timeline.check("not charged" in mail["text"], "the customer's e-mail says so, with the ticket")
    tickets = await scene.support.get("/api/v1/support/tickets", vin=scene.vin)
    mine = [t for t in tickets["tickets"] if t["activationId"] == activation_id]
    timeline.check(len(mine) == 1, "support sees exactly one ticket", tickets)
    await scene.sim.delete(f"/vehicles/{scene.vin}/faults")


async def withdraw(scene: Scene, activation_id: str) -> None:
    """A withdrawal within 14 days: everything back, and the car switched off (DOMAIN 13)."""
    timeline = scene.timeline
    timeline.chapter("A withdrawal")
    answer = await scene.customer.post(
        f"/api/v1/services/{activation_id}/cancel", {"reason": "NOT_NEEDED"}
    )
    timeline.check(answer["eligibility"] == "ELIGIBLE", "the withdrawal is granted", answer)
    scene.strike("withdrawal granted")
    await _activation_in(scene, activation_id, "CANCELLED_REFUNDED")
    await _activation(
        scene, activation_id, "the switch-off", lambda a: a["switchOffState"] == "DONE"
    )
    timeline.check(
        await scene.car_has(*POWER) == "NORMAL", "the car reports it: power is NORMAL again"
    )
    await _activation(scene, activation_id, "the refund", lambda a: a["paymentState"] == "REFUNDED")
    ledger = await scene.ledger(activation_id)
    timeline.check(
        ledger.count("CAPTURE") == 1 and ledger.count("REFUND") == 1,
        "the money is back, once",
        ledger,
    )
    await scene.mail("refund")
    timeline.step("the customer has it in writing")


async def _purchase(scene: Scene, code: str) -> str:
    """Buy a service for a week; the activation's id."""
    catalog = await scene.customer.get("/api/v1/services/catalog", vin=scene.vin)
    service = next(s for s in catalog["services"] if s["code"] == code)
    answer = await scene.customer.post(
        "/api/v1/services/purchase",
        {
            "vin": scene.vin,
            "serviceId": service["serviceId"],
            "tier": "WEEK",
            "schedule": {"type": "IMMEDIATE"},
            "paymentToken": await scene.card_token(),
        },
    )
    scene.timeline.step(f"{service['name']} is bought for a week: {answer['state']}")
    return answer["activationId"]


async def _activation_in(scene: Scene, activation_id: str, state: str) -> dict[str, Any]:
    return await _activation(scene, activation_id, state, lambda a: a["state"] == state)


async def _activation(
    scene: Scene, activation_id: str, what: str, holds: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    return await wait_for(
        what,
        lambda: scene.customer.get(f"/api/v1/activations/{activation_id}"),
        holds,
        within_s=MAX_STORY_WAIT_S,
    )
