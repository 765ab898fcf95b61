"""What a car of another make may put into an MQTT 5 PUBLISH never cuts a consumer off."""

import socket
import struct

from tests.broker_fixtures import RunningBroker
from tests.bus.bus_stacks import DEADLINE_S, Stack, client, take_and_ack

PUBACK = 0x40


def text(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def number(value: int) -> bytes:
    """A variable byte integer."""
    found = b""
    while value > 127:
        found += bytes([value % 128 | 128])
        value //= 128
    return found + bytes([value])


# Properties by hand (MQTT 5, 2.2.2.2): allowed, odd and forbidden; for the broker to sort out.
PROPERTIES = {
    "a user property": b"\x26" + text(b"k") + text(b"v"),
    "the same one often": (b"\x26" + text(b"k" * 100) + text(b"v" * 100)) * 1000,
    "a user property that is no UTF-8": b"\x26" + text(b"\xff\xfe") + text(b"v"),
    "a surrogate": b"\x26" + text(b"\xed\xa0\x80") + text(b"v"),
    "NUL": b"\x03" + text(b"a\0b"),
    "control characters": b"\x03" + text(b"\x01\x1f\x7f"),
    "no character": b"\x03" + text("\uffff".encode()),
    "a response topic with a wildcard": b"\x08" + text(b"a/#"),
    "an empty response topic": b"\x08" + text(b""),
    "empty correlation data": b"\x09" + text(b""),
    "very much correlation data": b"\x09" + text(b"\xff" * 60_000),
    "said to be UTF-8 and is not": b"\x01\x01",
    "an indicator there is not": b"\x01\x02",
    "a lifetime of nothing": b"\x02" + bytes(4),
    "a lifetime without end": b"\x02" + b"\xff" * 4,
    "a property twice": b"\x01\x01\x01\x01",
    "a subscription identifier": b"\x0b\x01",
    "a topic alias": b"\x23\x00\x01",
    "topic alias 0": b"\x23\x00\x00",
    "a property there is not": b"\x7f\x00",
}


def confirmed(broker: RunningBroker, vin: str, topic: str, properties: bytes) -> bool:
    """Publish over a line of its own; whether the broker took it (else it cuts the line)."""

    def packet(kind: int, body: bytes) -> bytes:
        return bytes([kind]) + number(len(body)) + body

    who = text(vin.encode()) + text(vin.encode()) + text(broker.secrets[vin].encode())
    connect = text(b"MQTT") + bytes([5, 0b1100_0010, 0, 60, 0]) + who
    publish = text(topic.encode()) + b"\x00\x01" + number(len(properties)) + properties + b"\xff{}"
    with socket.create_connection((broker.host, broker.port), timeout=DEADLINE_S) as line:
        line.sendall(packet(0x10, connect))
        assert line.recv(1024)[:1] == b"\x20"
        line.sendall(packet(0x32, publish))
        try:
            answer = line.recv(1024)
        except ConnectionResetError:
            return False
    return answer[:1] == bytes([PUBACK])


async def test_no_properties_cut_a_consumer_off(mosquitto_broker: RunningBroker) -> None:
    stack = Stack("mqtt5-mosquitto", mosquitto_broker)
    vin, connections = stack.vehicle(), 0

    async def count() -> None:
        nonlocal connections
        connections += 1

    topic = stack.topic(vin, "telemetry")
    consumer = await stack.open("svc-telemetry", client("telemetry"), topic, on_connect=count)
    taken = [confirmed(mosquitto_broker, vin, topic, found) for found in PROPERTIES.values()]
    assert sum(taken) >= 8
    assert not all(taken)
    vehicle = await stack.open(vin, vin)
    await vehicle.publish(topic, b"last")
    # What was given a lifetime of nothing may be gone.
    got = await take_and_ack(consumer)
    while got[-1] != b"last":
        got += await take_and_ack(consumer)
    assert len(got) - 1 in (sum(taken), sum(taken) - 1)
    assert connections == 1
    await stack.close()
