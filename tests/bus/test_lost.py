"""What is lost on the way, on every stack: confirmations, brokers, members of a group, windows."""

import asyncio

import pytest

from core.bus import Bus, BusUnavailable, Message
from core.bus.batches import batches
from tests.bus.bus_stacks import (
    DEADLINE_S,
    Stack,
    client,
    promised,
    take,
    take_and_ack,
    until,
)

FOREVER_S = 3600.0


@promised("line")
async def test_a_lost_confirmation_is_asked_for_again(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", client("telemetry"), topic)
    vehicle = await stack.open(vin, vin)
    stack.mute(vin)
    publish = asyncio.create_task(vehicle.publish(topic, b"1", timeout_s=DEADLINE_S))
    assert await take_and_ack(consumer) == [b"1"]
    assert not publish.done()
    stack.cut(vin)
    await publish
    await vehicle.publish(topic, b"2")
    # At least once: the broker cannot know that it was the confirmation that was lost.
    got = await take_and_ack(consumer)
    while got[-1] != b"2":
        got += await take_and_ack(consumer)
    assert got in ([b"1", b"2"], [b"2"])


@promised("line")
async def test_a_publish_whose_confirmation_is_lost_says_so_in_time(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "telemetry")
    vehicle = await stack.open(vin, vin)
    stack.mute(vin)
    with pytest.raises(BusUnavailable, match="no confirmation"):
        await vehicle.publish(topic, b"1", timeout_s=0.05)
    stack.cut(vin)
    await vehicle.publish(topic, b"2", timeout_s=DEADLINE_S)


@promised("line")
async def test_a_message_that_breaks_the_line_holds_up_no_other(stack: Stack) -> None:
    """As a broker does that cuts the line for a packet that is too large."""
    vin = stack.vehicle()
    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", client("telemetry"), topic)
    vehicle = await stack.open(vin, vin)
    stack.proxies[vin].poison = b"poison"

    def publish(payload: bytes) -> asyncio.Task[None]:
        return asyncio.create_task(vehicle.publish(topic, payload, timeout_s=FOREVER_S))

    before = [publish(b"a%d" % number) for number in range(5)]
    poison = publish(b"poison")
    after = [publish(b"b%d" % number) for number in range(5)]
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*before, *after)
        with pytest.raises(BusUnavailable, match="the line broke each time"):
            await poison
    await vehicle.publish(topic, b"last")
    got = await take_and_ack(consumer, 11)
    while got[-1] != b"last":
        got += await take_and_ack(consumer)
    wanted = {b"%c%d" % (kind, number) for kind in b"ab" for number in range(5)}
    assert set(got) == wanted | {b"last"}


@promised("reconnect")
async def test_a_killed_broker_is_survived_with_the_subscriptions(stack: Stack) -> None:
    """Whatever of the session the broker forgot: every connection subscribes again."""
    vin = stack.vehicle()
    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", client("telemetry"), topic)
    vehicle = await stack.open(vin, vin)
    await stack.kill_broker()
    await until(lambda: not consumer.connected and not vehicle.connected, "the crash is noticed")
    waiting = asyncio.create_task(vehicle.publish(topic, b"meanwhile", timeout_s=DEADLINE_S))
    await stack.start_broker()
    await until(lambda: consumer.connected and vehicle.connected, "connected again")
    await waiting
    await vehicle.publish(topic, b"after")
    # The first may have come before the consumer was back, to a broker that forgot it.
    got = await take_and_ack(consumer)
    while got[-1] != b"after":
        got += await take_and_ack(consumer)
    assert got in ([b"meanwhile", b"after"], [b"after"])


@promised("groups")
async def test_a_dead_member_finds_its_share_when_it_is_back(stack: Stack) -> None:
    """So a replica has a client id of its slot, and a restart takes up what waits for it."""
    vin, group = stack.vehicle(), client("ingest")
    topic, ids = stack.topic(vin, "telemetry"), [client("telemetry") for _ in range(2)]
    alive, dead = [await stack.open("svc-telemetry", name, topic, group=group) for name in ids]
    vehicle = await stack.open(vin, vin)
    first: list[bytes] = []
    for number in range(4):
        await vehicle.publish(topic, b"%d" % number)
    (held,) = await take(dead)
    await dead.close()
    for number in range(4, 10):
        await vehicle.publish(topic, b"%d" % number)
    back = await stack.open("svc-telemetry", ids[1], topic, group=group)

    async def drain(bus: Bus) -> None:
        async for message in bus.messages():
            first.append(message.payload)
            bus.ack(message)

    readers = [asyncio.create_task(drain(bus)) for bus in (alive, back)]
    await until(lambda: len(first) >= 10, "nothing waits any more")
    for reader in readers:
        reader.cancel()
    assert sorted(first) == sorted(b"%d" % number for number in range(10))
    assert held.payload in first


@promised("window")
async def test_a_batch_larger_than_the_window_is_closed_by_time(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", client("telemetry"), topic, receive_max=5)
    vehicle = await stack.open(vin, vin)
    for number in range(12):
        await vehicle.publish(topic, b"%d" % number)
    found: list[bytes] = []
    async with asyncio.timeout(DEADLINE_S):
        async for batch in batches(
            consumer, asyncio.Event(), convert=_same, weigh=lambda _: 1, most=100, wait_s=0.1
        ):
            assert len(batch) <= 5
            found += [message.payload for message in batch]
            for message in batch:
                consumer.ack(message)
            if len(found) >= 12:
                break
    assert found == [b"%d" % number for number in range(12)]


def _same(message: Message) -> Message:
    return message


@promised("reconnect")
async def test_what_waits_unsent_at_close_is_unavailable(stack: Stack) -> None:
    vin = stack.vehicle()
    vehicle = await stack.open(vin, vin)
    stack.isolate(vin)
    await until(lambda: not vehicle.connected, "the cut is noticed")
    publish = asyncio.create_task(
        vehicle.publish(stack.topic(vin, "status"), b"x", timeout_s=FOREVER_S)
    )
    await asyncio.sleep(0)
    await vehicle.close()
    with pytest.raises(BusUnavailable, match="closed"):
        await publish
