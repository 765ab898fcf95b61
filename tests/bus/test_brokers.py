"""The brokers as configured: what the access rules let arrive, new accounts, and the traps."""

import asyncio
import contextlib
import itertools
import secrets
from pathlib import Path

import pytest

from caas.brokers import plan_broker
from caas.brokers.mosquitto import find_mosquitto, override, render_config
from caas.brokers.overlay import SIGHUP_SAFE, version_of
from core.bus import Bus, BusRefused, PublishFailed, Subscription, Will, open_bus
from tests.broker_fixtures import PREFIX, RunningBroker
from tests.bus.bus_stacks import client, nothing_arrives, take, take_and_ack, until


@pytest.fixture(params=["mosquitto_broker", "amqtt_broker"])
def broker(request: pytest.FixtureRequest) -> RunningBroker:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, RunningBroker)
    return found


async def opened(
    broker: RunningBroker, exits: contextlib.AsyncExitStack, user: str, client_id: str, *topics: str
) -> Bus:
    bus = open_bus(
        broker.settings(user),
        client_id=client_id,
        subscriptions=[Subscription(topic) for topic in topics],
        role="test",
    )
    await bus.start()
    exits.push_async_callback(bus.close)
    return bus


def vehicle_of(broker: RunningBroker) -> str:
    vin = "A" + secrets.token_hex(8).upper()
    broker.add_user(vin)
    return vin


async def publish_allowed_or_not(bus: Bus, topic: str, payload: bytes) -> None:
    """MQTT 5 says no; 3.1.1 cannot."""
    with contextlib.suppress(PublishFailed):
        await bus.publish(topic, payload, retain=True)


async def test_a_vehicle_cannot_speak_for_another(broker: RunningBroker) -> None:
    vin, victim = vehicle_of(broker), vehicle_of(broker)
    async with contextlib.AsyncExitStack() as exits:
        topics = [f"{PREFIX}/{name}/{leaf}" for name in (vin, victim) for leaf in ("status",)]
        gateway = await opened(broker, exits, "svc-gateway", client("gateway"), *topics)
        vehicle = await opened(broker, exits, vin, vin)
        await publish_allowed_or_not(vehicle, f"{PREFIX}/{victim}/status", b"forged")
        await publish_allowed_or_not(vehicle, f"{PREFIX}/{vin}/status", b"own")
        # One connection's messages stay in order: the forged one would have come first.
        assert await take_and_ack(gateway) == [b"own"]


async def test_a_vehicle_cannot_command_and_a_service_only_its_own_topics(
    broker: RunningBroker,
) -> None:
    vin = vehicle_of(broker)
    async with contextlib.AsyncExitStack() as exits:
        own = [f"{PREFIX}/{vin}/cmd", f"{PREFIX}/{vin}/stored"]
        vehicle = await opened(broker, exits, vin, vin, *own)
        telemetry = await opened(broker, exits, "svc-telemetry", client("telemetry"))
        await publish_allowed_or_not(vehicle, own[0], b"by itself")
        await publish_allowed_or_not(telemetry, own[0], b"by telemetry")
        await telemetry.publish(own[1], b"receipt")
        assert await take_and_ack(vehicle) == [b"receipt"]


async def test_a_vehicle_hears_nothing_of_another(broker: RunningBroker) -> None:
    vin, victim, bystander = vehicle_of(broker), vehicle_of(broker), vehicle_of(broker)
    async with contextlib.AsyncExitStack() as exits:
        owner = await opened(broker, exits, victim, victim)
        await owner.publish(f"{PREFIX}/{victim}/config", b"private", retain=True)
        # Somebody who may has subscribed: amqtt 0.12 would now hand it to every newcomer.
        gateway = await opened(
            broker, exits, "svc-gateway", client("gateway"), f"{PREFIX}/+/config"
        )
        assert (await take(gateway))[0].retain
        listener = open_bus(
            broker.settings(vin),
            client_id=vin,
            subscriptions=[Subscription(f"{PREFIX}/{victim}/config"), Subscription("#")],
            role="test",
        )
        exits.push_async_callback(listener.close)
        # Mosquitto grants and filters what is delivered; the embedded broker refuses.
        if broker.plan.name == "mosquitto":
            await listener.start()
        else:
            with pytest.raises(BusRefused):
                await listener.start()
        newcomer = await opened(broker, exits, bystander, bystander, f"{PREFIX}/{bystander}/cmd")
        await owner.publish(f"{PREFIX}/{victim}/config", b"private too", retain=True)
        assert await nothing_arrives(listener)
        assert await nothing_arrives(newcomer)


async def test_a_will_needs_the_right_to_its_topic(broker: RunningBroker) -> None:
    vin, victim = vehicle_of(broker), vehicle_of(broker)
    async with contextlib.AsyncExitStack() as exits:
        gateway = await opened(
            broker,
            exits,
            "svc-gateway",
            client("gateway"),
            f"{PREFIX}/{vin}/presence",
            f"{PREFIX}/{victim}/presence",
        )
        attacker = open_bus(
            broker.settings(vin),
            client_id=vin,
            will=Will(f"{PREFIX}/{victim}/presence", b"forged"),
            role="test",
        )
        with contextlib.suppress(BusRefused):
            await attacker.start()
        await attacker.close(drop=True)
        honest = await opened(broker, exits, victim, victim)
        await honest.publish(f"{PREFIX}/{victim}/presence", b"own")
        assert await take_and_ack(gateway) == [b"own"]


def test_a_new_account_works_without_a_restart(broker: RunningBroker) -> None:
    pid = broker.pid
    name, secret = "N" + secrets.token_hex(8).upper(), secrets.token_urlsafe(32)
    assert not broker.can_log_in(name, secret)
    broker.add_user(name, secret)
    assert not broker.can_log_in(name, "wrong")
    assert broker.pid == pid


async def test_nothing_is_dropped_for_an_absent_consumer(mosquitto_broker: RunningBroker) -> None:
    """Trap 1: with the default of 1000 queued messages, the rest goes in silence."""
    broker, me = mosquitto_broker, client("telemetry")
    vin = vehicle_of(broker)
    topic = f"{PREFIX}/{vin}/telemetry"
    async with contextlib.AsyncExitStack() as exits:
        consumer = await opened(broker, exits, "svc-telemetry", me, topic)
        await consumer.close()
        vehicle = await opened(broker, exits, vin, vin)
        await asyncio.gather(*(vehicle.publish(topic, b"%d" % number) for number in range(3000)))
        consumer = await opened(broker, exits, "svc-telemetry", me, topic)
        assert await take_and_ack(consumer, 3000) == [b"%d" % number for number in range(3000)]


async def test_a_message_too_large_is_refused_with_its_reason(
    mosquitto_broker: RunningBroker,
) -> None:
    vin = vehicle_of(mosquitto_broker)
    topic = f"{PREFIX}/{vin}/telemetry"
    async with contextlib.AsyncExitStack() as exits:
        consumer = await opened(
            mosquitto_broker, exits, "svc-telemetry", client("telemetry"), topic
        )
        connections = itertools.count()

        async def count() -> None:
            next(connections)

        vehicle = open_bus(
            mosquitto_broker.settings(vin), client_id=vin, on_connect=count, role="test"
        )
        exits.push_async_callback(vehicle.close)
        await vehicle.start()
        for _ in range(20):
            with pytest.raises(PublishFailed) as refused:
                await vehicle.publish(topic, b"x" * 300_000)
            assert refused.value.reason == "PACKET_TOO_LARGE"
        # A little too large goes through, so it can be quarantined; the connection still stands.
        await vehicle.publish(topic, b"y" * 262_145)
        (message,) = await take(consumer)
        assert len(message.payload) == 262_145
        assert next(connections) == 1


async def test_only_who_may_reads_the_brokers_own_topics(
    mosquitto_broker: RunningBroker,
) -> None:
    async with contextlib.AsyncExitStack() as exits:
        dropped = "$SYS/broker/publish/messages/dropped"
        monitor = await opened(
            mosquitto_broker, exits, "svc-monitor", client("monitor"), "$SYS/broker/#"
        )
        async with asyncio.timeout(30):
            async for message in monitor.messages():
                monitor.ack(message)
                if message.topic == dropped:
                    break
        engine = await opened(mosquitto_broker, exits, "svc-ota", client("ota"), "$SYS/broker/#")
        assert await nothing_arrives(engine)


def test_the_plan_names_the_broker_and_its_protocol(tmp_path: Path) -> None:
    found = find_mosquitto()
    assert found is not None
    for broker, protocol in (("mosquitto", "5"), ("amqtt", "3.1.1")):
        plan = plan_broker(
            tmp_path,
            host="127.0.0.1",
            port=1,
            passwords=tmp_path / "passwords",
            prefix=PREFIX,
            prefer="mosquitto" if broker == "mosquitto" else "amqtt",
        )
        assert plan.name == broker
        assert plan.protocol == protocol
        assert Path(plan.argv[0]).is_absolute()
        assert plan.live == (broker == "mosquitto")
        if version_of(found) < SIGHUP_SAFE:
            assert plan.reload_on is None


def test_the_configuration_is_the_production_file_with_other_paths(tmp_path: Path) -> None:
    config = render_config(
        tmp_path / "data",
        host="127.0.0.1",
        port=18830,
        passwords=tmp_path / "passwords",
        prefix="other/topics",
    )
    lines = config.read_text(encoding="utf-8").splitlines()
    for line in (
        "listener 18830 127.0.0.1",
        f"password_file {tmp_path}/passwords",
        "allow_anonymous false",
        "max_queued_messages 0",
        "per_listener_settings false",
    ):
        assert lines.count(line) == 1, line
    assert sum(line.startswith("listener ") for line in lines) == 1
    acl = (tmp_path / "data/mosquitto/acl").read_text(encoding="utf-8")
    assert "topic write other/topics/+/cmd" in acl
    assert "caas/v1/vehicles" not in acl


def test_override_replaces_and_adds() -> None:
    assert override("# a 1\na 1\nb 2\n", {"a": "9", "c": "3"}) == "# a 1\na 9\nb 2\nc 3\n"


async def test_the_embedded_broker_ends_in_order(amqtt_broker: RunningBroker) -> None:
    process = amqtt_broker._process
    assert process is not None
    amqtt_broker.stop()
    assert process.returncode == 0
    amqtt_broker.start()
    await until(lambda: amqtt_broker.pid is not None, "started again")


async def test_the_embedded_broker_holds_a_vehicle_to_its_own_client_id(
    amqtt_broker: RunningBroker,
) -> None:
    """Where there is one door for everybody. At Mosquitto's: tests/broker/test_attacks.py."""
    vin, victim = vehicle_of(amqtt_broker), vehicle_of(amqtt_broker)
    async with contextlib.AsyncExitStack() as exits:
        topic = f"{PREFIX}/{victim}/cmd"
        owner = await opened(amqtt_broker, exits, victim, victim, topic)
        gateway = await opened(amqtt_broker, exits, "svc-gateway", client("gateway"))
        thief = open_bus(amqtt_broker.settings(vin), client_id=victim, role="test")
        exits.push_async_callback(thief.close)
        with pytest.raises(BusRefused):
            await thief.start()
        await gateway.publish(topic, b"for its owner")
        assert await take_and_ack(owner) == [b"for its owner"]
