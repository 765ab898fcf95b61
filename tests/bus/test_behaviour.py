"""What every bus promises, on every stack that promises it (``bus_stacks.NOT_PROMISED``)."""

import asyncio

import pytest

from core.bus import BusRefused, BusUnavailable, Properties, PublishFailed
from tests.bus.bus_stacks import (
    DEADLINE_S,
    Stack,
    client,
    nothing_arrives,
    promised,
    take,
    take_and_ack,
    until,
)


@promised("redelivery")
async def test_what_was_not_acknowledged_comes_again(stack: Stack) -> None:
    vin, me = stack.vehicle(), client("telemetry")
    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", me, topic)
    vehicle = await stack.open(vin, vin)
    for payload in (b"1", b"2", b"3"):
        await vehicle.publish(topic, payload)
    first, *_ = await take(consumer, 3)
    consumer.ack(first)
    await consumer.close()

    consumer = await stack.open("svc-telemetry", me, topic)
    again = await take(consumer, 2)
    assert [message.payload for message in again] == [b"2", b"3"]
    assert all(message.duplicate for message in again)


@promised("redelivery")
async def test_a_stale_acknowledgement_is_dropped(stack: Stack) -> None:
    vin, me = stack.vehicle(), client("telemetry")
    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", me, topic)
    vehicle = await stack.open(vin, vin)
    await vehicle.publish(topic, b"1")
    (stale,) = await take(consumer)
    stack.cut(me)
    (again,) = await take(consumer)
    assert (again.payload, again.duplicate) == (b"1", True)

    # Acknowledging the first delivery says nothing about the second: it comes a third time.
    consumer.ack(stale)
    stack.cut(me)
    (third,) = await take(consumer)
    assert third.payload == b"1"
    consumer.ack(third)
    consumer.ack(third)
    await vehicle.publish(topic, b"2")
    assert await take_and_ack(consumer) == [b"2"]


@promised("redelivery")
async def test_queued_messages_of_an_earlier_connection_are_not_handed_out_twice(
    stack: Stack,
) -> None:
    vin, me = stack.vehicle(), client("telemetry")
    topic = stack.topic(vin, "telemetry")
    connections = 0

    async def count() -> None:
        nonlocal connections
        connections += 1

    consumer = await stack.open("svc-telemetry", me, topic, on_connect=count)
    vehicle = await stack.open(vin, vin)
    for number in range(5):
        await vehicle.publish(topic, b"%d" % number)
    await take(consumer)
    stack.cut(me)
    await until(lambda: connections == 2, "connected again")
    await vehicle.publish(topic, b"last")
    assert await take_and_ack(consumer, 6) == [b"0", b"1", b"2", b"3", b"4", b"last"]
    assert await nothing_arrives(consumer)


@promised("window")
async def test_the_receive_window_is_kept(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", client("telemetry"), topic, receive_max=5)
    vehicle = await stack.open(vin, vin)
    for number in range(12):
        await vehicle.publish(topic, b"%d" % number)
    window = await take(consumer, 5)
    assert await nothing_arrives(consumer)
    consumer.ack(window[0])
    assert [message.payload for message in await take(consumer)] == [b"5"]
    assert await nothing_arrives(consumer)


@promised("window")
async def test_a_full_window_does_not_hold_up_a_publish(stack: Stack) -> None:
    vin = stack.vehicle()
    consumer = await stack.open(
        "svc-telemetry", client("telemetry"), stack.topic(vin, "telemetry"), receive_max=2
    )
    vehicle = await stack.open(vin, vin, stack.topic(vin, "stored"))
    for number in range(6):
        await vehicle.publish(stack.topic(vin, "telemetry"), b"%d" % number)
    waiting = await take(consumer, 2)
    assert await nothing_arrives(consumer)
    # A consumer that publishes before it acknowledges (the receipt `stored`).
    await consumer.publish(stack.topic(vin, "stored"), b"receipt", timeout_s=DEADLINE_S)
    assert await take_and_ack(vehicle) == [b"receipt"]
    for message in waiting:
        consumer.ack(message)
    assert await take_and_ack(consumer, 4) == [b"2", b"3", b"4", b"5"]


@promised("reconnect")
async def test_a_broker_restart_is_survived(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", client("telemetry"), topic)
    vehicle = await stack.open(vin, vin)
    await stack.stop_broker()
    await until(lambda: not consumer.connected and not vehicle.connected, "the stop is noticed")
    await stack.start_broker()
    await until(lambda: consumer.connected and vehicle.connected, "connected again")
    await vehicle.publish(topic, b"after")
    assert await take_and_ack(consumer) == [b"after"]


@promised("restart")
async def test_a_publish_waits_out_a_broker_restart(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", client("telemetry"), topic)
    vehicle = await stack.open(vin, vin)
    await stack.stop_broker()
    await until(lambda: not vehicle.connected, "the stop is noticed")
    publishes = [
        asyncio.create_task(vehicle.publish(topic, b"%d" % number, timeout_s=DEADLINE_S))
        for number in range(30)
    ]
    await stack.start_broker()
    await asyncio.gather(*publishes)
    assert await take_and_ack(consumer, 30) == [b"%d" % number for number in range(30)]


@promised("restart")
async def test_messages_wait_for_an_absent_client_over_a_broker_restart(stack: Stack) -> None:
    vin = stack.vehicle()
    vehicle = await stack.open(vin, vin, stack.topic(vin, "cmd"))
    await vehicle.close()
    gateway = await stack.open("svc-gateway", client("gateway"))
    await gateway.publish(stack.topic(vin, "cmd"), b"waits")
    await stack.stop_broker()
    await stack.start_broker()
    vehicle = await stack.open(vin, vin, stack.topic(vin, "cmd"))
    assert await take_and_ack(vehicle) == [b"waits"]


@promised("sessions")
async def test_messages_wait_for_an_absent_client(stack: Stack) -> None:
    vin = stack.vehicle()
    vehicle = await stack.open(vin, vin, stack.topic(vin, "cmd"))
    await vehicle.close()
    gateway = await stack.open("svc-gateway", client("gateway"))
    for number in range(12):
        await gateway.publish(stack.topic(vin, "cmd"), b"%d" % number)
    # More than the window: what waits must not hold up the answer to the new subscription.
    vehicle = await stack.open(vin, vin, stack.topic(vin, "cmd"), receive_max=5)
    assert await take_and_ack(vehicle, 12) == [b"%d" % number for number in range(12)]


@promised("reconnect")
async def test_a_publish_without_a_connection_fails_at_its_timeout(stack: Stack) -> None:
    vin = stack.vehicle()
    vehicle = await stack.open(vin, vin)
    stack.isolate(vin)
    await until(lambda: not vehicle.connected, "the cut is noticed")
    with pytest.raises(BusUnavailable):
        await vehicle.publish(stack.topic(vin, "status"), b"x", timeout_s=0.05)


@promised("liveness")
async def test_a_broker_that_went_silent_is_given_up(stack: Stack) -> None:
    vin = stack.vehicle()
    connections = 0

    async def count() -> None:
        nonlocal connections
        connections += 1

    vehicle = await stack.open(vin, vin, on_connect=count, keep_alive_s=1)
    stack.proxies[vin].stall()
    await until(lambda: not vehicle.connected, "the silence is noticed")
    await until(lambda: connections == 2, "connected again over a new line")


@promised("reasons")
async def test_a_refused_publish_says_why(stack: Stack) -> None:
    vin = stack.vehicle()
    vehicle = await stack.open(vin, vin)
    with pytest.raises(PublishFailed) as refused:
        await vehicle.publish(stack.topic(vin, "cmd"), b"x")
    assert refused.value.reason == "NOT_AUTHORIZED"
    # The connection goes on.
    await vehicle.publish(stack.topic(vin, "status"), b"x")


@promised("accounts")
async def test_a_wrong_password_is_refused_at_start(stack: Stack) -> None:
    vin = stack.vehicle()
    bus = await stack.build(vin, vin, password="wrong")
    with pytest.raises(BusRefused) as refused:
        await bus.start()
    assert refused.value.reason == "NOT_AUTHORIZED"


@promised("redelivery")
async def test_close_sends_the_acknowledgements_already_given(stack: Stack) -> None:
    vin, me = stack.vehicle(), client("telemetry")
    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", me, topic)
    vehicle = await stack.open(vin, vin)
    for number in range(50):
        await vehicle.publish(topic, b"%d" % number)
    for message in await take(consumer, 50):
        consumer.ack(message)
    await consumer.close()
    await vehicle.publish(topic, b"marker")
    consumer = await stack.open("svc-telemetry", me, topic)
    assert await take_and_ack(consumer) == [b"marker"]


@promised("confirmation")
async def test_close_ends_iteration_and_publishing(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "telemetry")
    vehicle = await stack.open(vin, vin)
    publishes = [asyncio.create_task(vehicle.publish(topic, b"x")) for _ in range(50)]
    await asyncio.sleep(0)
    await vehicle.close()
    await asyncio.gather(*publishes)
    assert [message async for message in vehicle.messages()] == []
    with pytest.raises(BusUnavailable):
        await vehicle.publish(topic, b"too late")


@promised("kept")
async def test_publishes_under_way_at_close_arrive(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", client("telemetry"), topic)
    vehicle = await stack.open(vin, vin)
    publishes = [
        asyncio.create_task(vehicle.publish(topic, b"%d" % number)) for number in range(50)
    ]
    await asyncio.sleep(0)
    await vehicle.close()
    await asyncio.gather(*publishes)
    assert await take_and_ack(consumer, 50) == [b"%d" % number for number in range(50)]


@promised("properties")
async def test_properties_arrive(stack: Stack) -> None:
    vin = stack.vehicle()
    vehicle = await stack.open(vin, vin, stack.topic(vin, "cmd"))
    gateway = await stack.open("svc-gateway", client("gateway"))
    sent = Properties("application/jose", stack.topic(vin, "answer"), b"\x00" * 16, 300)
    await gateway.publish(stack.topic(vin, "cmd"), b"jws", properties=sent)
    (message,) = await take(vehicle)
    got = message.properties
    assert (got.content_type, got.response_topic, got.correlation) == (
        "application/jose",
        stack.topic(vin, "answer"),
        b"\x00" * 16,
    )
    assert got.expiry_s is not None
    assert 0 < got.expiry_s <= 300


@promised("on_connect")
async def test_on_connect_runs_at_each_connection_and_may_publish(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "presence")
    observer = await stack.open("svc-gateway", client("gateway"), topic)
    count = 0

    async def greet() -> None:
        nonlocal count
        count += 1
        await vehicle.publish(topic, b"ONLINE %d" % count)

    vehicle = await stack.build(vin, vin, on_connect=greet)
    await vehicle.start()
    assert await take_and_ack(observer) == [b"ONLINE 1"]
    stack.cut(vin)
    assert await take_and_ack(observer) == [b"ONLINE 2"]


@promised("groups")
async def test_a_group_shares_the_messages(stack: Stack) -> None:
    vin = stack.vehicle()
    topic = stack.topic(vin, "telemetry")
    group = client("ingest")
    members = [
        await stack.open("svc-telemetry", client("telemetry"), topic, group=group) for _ in range(2)
    ]
    vehicle = await stack.open(vin, vin)
    for number in range(40):
        await vehicle.publish(topic, b"%d" % number)
    shares: list[list[bytes]] = [[], []]

    async def consume(index: int) -> None:
        async for message in members[index].messages():
            shares[index].append(message.payload)
            members[index].ack(message)

    consumers = [asyncio.create_task(consume(index)) for index in range(2)]
    await until(lambda: len(shares[0]) + len(shares[1]) >= 40, "all shares arrive")
    for consumer in consumers:
        consumer.cancel()
    assert sorted(shares[0] + shares[1]) == sorted(b"%d" % number for number in range(40))
    assert all(shares)
