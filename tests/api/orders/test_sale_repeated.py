"""A sale that is saved twice by a client which heard no answer is one sale."""

import asyncio

from tests.api.orders import steps
from tests.api.world import World


async def test_the_same_request_is_one_sale_also_at_once(world: World) -> None:
    headers = {**await world.token(steps.SALES), "Idempotency-Key": "one-sale-0001"}

    async def save() -> tuple[int, str]:
        answer = await world.client.post(
            "/intranet/orders", json=steps.order_body(), headers=headers
        )
        return answer.status_code, answer.json()["orderId"]

    saved = await asyncio.gather(*(save() for _ in range(4)))
    assert {status for status, _ in saved} == {201}
    assert len({order_id for _, order_id in saved}) == 1
    listed = await world.client.get("/intranet/orders", headers=await world.token(steps.SALES))
    assert len(listed.json()["orders"]) == 1


async def test_the_same_key_with_another_body_is_a_conflict(world: World) -> None:
    headers = {**await world.token(steps.SALES), "Idempotency-Key": "one-sale-0002"}
    first = await world.client.post("/intranet/orders", json=steps.order_body(), headers=headers)
    assert first.status_code == 201
    other = steps.order_body(financingNotes="leasing")
    second = await world.client.post("/intranet/orders", json=other, headers=headers)
    assert second.status_code == 409
    assert second.json()["error"]["code"] == "IDEMPOTENCY_CONFLICT"
