"""Retained messages and wills, on every stack that promises them."""

import asyncio
import itertools

from core.bus import Will
from tests.bus.bus_stacks import DEADLINE_S, Stack, client, promised, take, take_and_ack


@promised("retained")
async def test_a_retained_message_reaches_who_subscribes_later(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "config")
    early = await stack.open("svc-gateway", client("gateway"), topic)
    vehicle = await stack.open(vin, vin)
    await vehicle.publish(topic, b"old", retain=True)
    await vehicle.publish(topic, b"new", retain=True)
    live = await take(early, 2)
    assert [(message.payload, message.retain) for message in live] == [
        (b"old", False),
        (b"new", False),
    ]
    late = await stack.open("svc-gateway", client("gateway"), topic)
    (stored,) = await take(late)
    assert (stored.payload, stored.retain) == (b"new", True)


@promised("wills")
async def test_the_will_is_published_when_the_line_breaks(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "presence")
    observer = await stack.open("svc-gateway", client("gateway"), topic)
    vehicle = await stack.open(vin, vin, will=Will(topic, b"gone"))
    await vehicle.close(drop=True)
    assert await take_and_ack(observer) == [b"gone"]
    late = await stack.open("svc-gateway", client("gateway"), topic)
    (stored,) = await take(late)
    assert (stored.payload, stored.retain) == (b"gone", True)


@promised("wills")
async def test_there_is_no_will_after_an_orderly_close(stack: Stack) -> None:
    vin, other = stack.vehicle(), stack.vehicle()
    observer = await stack.open(
        "svc-gateway",
        client("gateway"),
        stack.topic(vin, "presence"),
        stack.topic(other, "presence"),
    )
    vehicle = await stack.open(vin, vin, will=Will(stack.topic(vin, "presence"), b"gone"))
    await vehicle.close()
    second = await stack.open(other, other)
    await second.publish(stack.topic(other, "presence"), b"marker")
    assert await take_and_ack(observer) == [b"marker"]


@promised("wills")
async def test_a_will_can_be_made_anew_for_each_connection(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "presence")
    observer = await stack.open("svc-gateway", client("gateway"), topic)
    sessions = itertools.count(1)
    connections = asyncio.Semaphore(0)

    async def count() -> None:
        connections.release()

    await stack.open(
        vin, vin, will=lambda: Will(topic, b"gone %d" % next(sessions)), on_connect=count
    )
    for number in (1, 2):
        async with asyncio.timeout(DEADLINE_S):
            await connections.acquire()
        stack.cut(vin)
        assert await take_and_ack(observer) == [b"gone %d" % number]
