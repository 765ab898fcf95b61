"""Every byte a simulated vehicle and the platform exchange fits the published schemas."""

import asyncio
import json
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from core.bus import Subscription
from core.bus.memory import MemoryBroker, MemoryBus
from core.contracts.bus import CommandKind, PresenceMessage, TelemetryBatch
from core.contracts.jws import verify
from core.contracts.topics import Topic, filter_of, parse_topic
from tests.vehicle_sim.conftest import _memory_opener, new_vin
from tests.vehicle_sim.harness import (
    BOOST,
    KEYS,
    PREFIX,
    UPWARD_FILTERS,
    command,
    eventually,
    platform_on,
    sim_settings,
    vehicle_on,
    world_of,
)

DOCUMENT: dict[str, Any] = yaml.safe_load(Path("docs/asyncapi.yaml").read_text(encoding="utf-8"))


def check(schema: dict[str, Any], message: Any) -> None:
    whole = {"allOf": [schema], "components": DOCUMENT["components"]}
    jsonschema.Draft7Validator(whole).validate(message)


def check_payload(topic: Topic, payload: bytes) -> None:
    (name,) = DOCUMENT["channels"][topic.value]["messages"]
    message = DOCUMENT["components"]["messages"][name]
    if topic is Topic.CMD:
        check(message["payload"], payload.decode())
        verify(payload, KEYS)
    else:
        check(message["payload"], json.loads(payload))


async def test_all_that_goes_over_the_bus_fits(tmp_path: Path) -> None:
    vin, broker = new_vin(), MemoryBroker()
    everything = [Subscription(filter_of(PREFIX, topic)) for topic in Topic]
    spy = MemoryBus(broker, "spy", subscriptions=everything)
    ear = MemoryBus(broker, "ear", subscriptions=UPWARD_FILTERS)
    world = world_of(sim_settings(tmp_path), _memory_opener(broker))
    heard: list[tuple[Topic, bytes]] = []

    async def listen() -> None:
        async for message in spy.messages():
            named = parse_topic(PREFIX, message.topic)
            assert named is not None
            heard.append((named[1], message.payload))
            spy.ack(message)

    await spy.start()
    listening = asyncio.create_task(listen())
    async with platform_on(vin, ear, MemoryBus(broker, "mouth")) as platform:
        async with vehicle_on(world, vin, "secret"):
            await platform.expect(PresenceMessage, lambda _: True, "online")
            await platform.command(command(1, BOOST))
            await platform.command(command(2, kind=CommandKind.QUERY))
            await platform.command(command(3, kind=CommandKind.DISPLAY, text="Hello"))
            await platform.say(Topic.CMD, b"rubbish.not.signed")
            batch = await platform.expect(TelemetryBatch, lambda _: True, "telemetry")
            await platform.store(batch.boot, batch.n)
            await eventually(lambda: {topic for topic, _ in heard} == set(Topic), "every topic")
        await eventually(
            lambda: any(b"OFFLINE" in body for topic, body in heard if topic is Topic.PRESENCE),
            "the end of the session",
        )
    await spy.close()
    await asyncio.wait_for(listening, 10)
    for topic, payload in heard:
        if payload != b"rubbish.not.signed":
            check_payload(topic, payload)
