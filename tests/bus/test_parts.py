"""The parts the adapters share, without a broker, and the twin's own rules."""

import asyncio

import pytest
from prometheus_client import REGISTRY

from core.bus import BusUnavailable, Message, Properties, PublishFailed, Subscription, open_bus
from core.bus.inbox import Inbox
from core.bus.memory import MemoryBroker, MemoryBus
from core.bus.mqtt5 import Mqtt5Bus
from core.bus.mqtt311 import Mqtt311Bus
from core.bus.outbox import Outbox, Outgoing
from core.bus.port import NO_PROPERTIES
from core.bus.reconnect import Backoff
from core.settings import BusSettings, load
from tests.bus.bus_stacks import nothing_arrives, take, take_and_ack


def outgoing(topic: str) -> Outgoing:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    return Outgoing(topic, b"", False, NO_PROPERTIES, done)


def sent(outbox: Outbox) -> list[tuple[str, int, bool]]:
    """Everything the outbox lets out: topic, packet id, whether again."""
    found: list[tuple[str, int, bool]] = []
    while (item := outbox.next_to_send()) is not None:
        found.append((item.topic, item.packet_id, item.again))
    return found


async def test_after_a_reconnect_the_unconfirmed_go_first_with_their_ids() -> None:
    outbox, items = Outbox(), [outgoing(name) for name in "abc"]
    for item in items:
        outbox.add(item)
    assert sent(outbox) == [("a", 1, False), ("b", 2, False), ("c", 3, False)]
    assert outbox.confirm(2)
    outbox.add(outgoing("d"))
    outbox.requeue(duplicate=True)
    assert sent(outbox) == [("a", 1, True), ("c", 3, True), ("d", 4, False)]


async def test_a_late_confirmation_does_not_hit_another_message() -> None:
    outbox, first, second = Outbox(), outgoing("a"), outgoing("b")
    outbox.add(first)
    sent(outbox)
    first.done.cancel()
    outbox.give_up(first)
    outbox.add(second)
    assert sent(outbox) == [("b", 2, False)]
    assert not outbox.confirm(1)
    assert not second.done.done()


async def test_what_was_given_up_is_not_sent() -> None:
    outbox, first = Outbox(), outgoing("a")
    outbox.add(first)
    first.done.cancel()
    outbox.give_up(first)
    assert len(outbox) == 0
    assert sent(outbox) == []


async def test_a_refusal_names_topic_and_reason_and_failing_all_says_unavailable() -> None:
    outbox, first, second = Outbox(), outgoing("a"), outgoing("b")
    outbox.add(first)
    outbox.add(second)
    sent(outbox)
    outbox.confirm(1, "QUOTA_EXCEEDED")
    with pytest.raises(PublishFailed, match="a: QUOTA_EXCEEDED"):
        await first.done
    outbox.fail_all("closed")
    with pytest.raises(BusUnavailable, match="closed"):
        await second.done


async def test_waiting_for_a_message_can_be_cancelled_without_losing_one() -> None:
    inbox = Inbox(lambda: None)
    waiting = asyncio.create_task(inbox.__anext__())
    await asyncio.sleep(0)
    inbox.put(Message("a", b"1"))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await anext(inbox)).payload == b"1"


async def test_an_error_reaches_the_consumer() -> None:
    inbox = Inbox(lambda: None)
    inbox.close(RuntimeError("defect"))
    with pytest.raises(RuntimeError, match="defect"):
        await anext(inbox)


def test_backoff_grows_to_its_cap_and_is_spread() -> None:
    backoff = Backoff(base_s=1, cap_s=8)
    for attempt, most in ((0, 1), (1, 2), (3, 8), (50, 8)):
        delays = [backoff.delay_s(attempt) for _ in range(200)]
        assert 0 <= min(delays) < most / 4
        assert most * 3 / 4 < max(delays) <= most


@pytest.mark.parametrize(("protocol", "kind"), [("5", Mqtt5Bus), ("3.1.1", Mqtt311Bus)])
async def test_the_settings_choose_the_adapter(protocol: str, kind: type) -> None:
    settings = load(BusSettings, protocol=protocol, username="service", password="secret")
    bus = open_bus(settings, client_id="vehicle-1", username="VIN", password="own", role="vehicle")
    assert isinstance(bus, kind)
    assert isinstance(bus, Mqtt5Bus | Mqtt311Bus)
    assert (bus.options.username, bus.options.password) == ("VIN", "own")
    assert "own" not in repr(bus.options)


async def test_the_twin_drops_what_expired_while_it_waited() -> None:
    clock = [0.0]
    broker = MemoryBroker(now=lambda: clock[0])
    absent = MemoryBus(broker, "absent", subscriptions=[Subscription("a/+")])
    await absent.start()
    await absent.close()
    sender = MemoryBus(broker, "sender")
    await sender.start()
    await sender.publish("a/1", b"short", properties=Properties(expiry_s=5))
    await sender.publish("a/1", b"long", properties=Properties(expiry_s=50))
    clock[0] = 10.0
    back = MemoryBus(broker, "absent", subscriptions=[Subscription("a/+")])
    await back.start()
    assert await take_and_ack(back) == [b"long"]
    assert await nothing_arrives(back)
    await sender.close()
    await back.close()


async def test_metrics_count_by_role() -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"role": "counted", **labels}) or 0.0

    broker = MemoryBroker(refuse=lambda _client, topic: "NO" if topic == "bad" else None)
    bus = MemoryBus(broker, "one", subscriptions=[Subscription("good")], role="counted")
    await bus.start()
    assert value("caas_bus_connected") == 1
    await bus.publish("good", b"")
    (message,) = await take(bus)
    bus.ack(message)
    bus.ack(message)
    with pytest.raises(PublishFailed):
        await bus.publish("bad", b"")
    await bus.close()
    assert value("caas_bus_connected") == 0
    assert value("caas_bus_published_total") == 1
    assert value("caas_bus_received_total") == 1
    assert value("caas_bus_acked_total") == 1
    assert value("caas_bus_stale_acks_total") == 1
    assert value("caas_bus_publish_failures_total", reason="NO") == 1


async def test_depths_and_latency_are_measured_by_role() -> None:
    def value(name: str) -> float:
        return REGISTRY.get_sample_value(name, {"role": "deep"}) or 0.0

    def depths() -> dict[str, float]:
        names = ("inbox_depth", "unacknowledged", "in_flight", "unsent")
        return {name: value(f"caas_bus_{name}") for name in names}

    broker = MemoryBroker()
    bus = MemoryBus(broker, "deep", subscriptions=[Subscription("t")], role="deep")
    await bus.start()
    for _ in range(3):
        await bus.publish("t", b"")
    assert depths() == {"inbox_depth": 3, "unacknowledged": 3, "in_flight": 0, "unsent": 0}
    (message,) = await take(bus)
    assert depths()["inbox_depth"] == 2
    bus.ack(message)
    assert depths()["unacknowledged"] == 2
    under_way = asyncio.create_task(bus.publish("t", b""))
    await asyncio.sleep(0)
    assert depths()["in_flight"] == 1
    await under_way
    broker.stop()
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(bus.publish("t", b"")) for _ in range(2)]
    while not depths()["unsent"]:
        await asyncio.sleep(0)
    assert (depths()["in_flight"], depths()["unsent"]) == (0, 2)
    await bus.close()
    await asyncio.wait(waiting)
    assert [type(task.exception()) for task in waiting] == [BusUnavailable] * 2
    assert depths() == dict.fromkeys(depths(), 0)
    assert value("caas_bus_publish_seconds_count") == 4


async def test_what_goes_alone_holds_up_the_others_no_longer_than_its_caller_waits() -> None:
    outbox, first, second = Outbox(), outgoing("a"), outgoing("b")
    outbox.add(first)
    for _ in range(2):
        assert len(sent(outbox)) == 1
        outbox.requeue(duplicate=True)
    outbox.add(second)
    assert sent(outbox) == [("a", 1, True)]
    first.done.cancel()
    outbox.give_up(first)
    assert sent(outbox) == [("b", 2, False)]


async def test_a_reason_the_codec_does_not_know_is_read() -> None:
    """0x95 in a PUBACK, and one that nobody has defined; the bytes after them are read as well."""
    reasons = iter((0x95, 0xEE, 0x00))

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(bytes([0x20, 3, 0, 0, 0]))
        while data := await reader.read(1024):
            if data[0] & 0xF0 == 0x30:
                head = 4 + data[3]
                writer.write(bytes([0x40, 3, *data[head : head + 2], next(reasons)]))
        writer.close()

    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    settings = load(BusSettings, port=server.sockets[0].getsockname()[1])
    bus = open_bus(settings, client_id="one", role="test")
    await bus.start()
    for reason in ("PACKET_TOO_LARGE", "reason 0xee"):
        with pytest.raises(PublishFailed, match=reason):
            await bus.publish("t", b"x")
    await bus.publish("t", b"x")
    await bus.close()
    server.close()
