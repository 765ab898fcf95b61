"""What a vehicle may put on its topics, good and bad, and a client that puts it there as it is."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from caas.supervisor.processes import wait_until
from core.clock import rfc3339
from core.contracts.topics import MAX_PAYLOAD_BYTES, UPWARD
from core.ids import new_id
from tests.broker_fixtures import ACCEPTED, connack_code
from tests.e2e.stage import Stage

PREFIX = "caas/v1/vehicles"
TOPICS = sorted(topic.value for topic in UPWARD)
LET_IN_S = 20.0
SENT_S = 20.0

Make = Callable[[str], bytes]


def good(topic: str, at: datetime) -> dict[str, Any]:
    """A message of that topic that the platform can use."""
    when = rfc3339(at)
    bodies: dict[str, dict[str, Any]] = {
        "answer": {"result": "ACCEPTED", "at": when},
        "config": {"at": when, "seq": 0, "firmware": "2.4.1", "model": "AURORA",
                   "values": [], "digest": ""},
        "event": {"event_id": str(new_id()), "at": when, "type": "BOOT"},
        "presence": {"state": "ONLINE", "at": when, "session": str(new_id()), "boot": 1},
        "status": {"at": when, "operational": "PARKED", "firmware": "2.4.1", "signal_pct": 80},
        "telemetry": {"boot": 1, "n": 0,
                      "samples": [{"t": int(at.timestamp() * 1000), "speed_kmh": 12.5}]},
    }  # fmt: skip
    return bodies[topic]


def as_bytes(topic: str, ahead: timedelta = timedelta()) -> bytes:
    """A good message of now, or of a time ahead."""
    return json.dumps(good(topic, datetime.now(UTC) + ahead)).encode()


# How a message can be of no use, and the reason the quarantine must give.
BAD: dict[str, tuple[str, Make]] = {
    "not JSON": ("NOT_JSON", lambda topic: as_bytes(topic)[:-1]),
    "not UTF-8": ("NOT_JSON", lambda topic: b"\xff" + as_bytes(topic)),
    "empty": ("NOT_JSON", lambda _: b""),
    "of a wrong type": ("MALFORMED", lambda _: b'{"at": 5, "samples": "many", "boot": -1}'),
    "no object": ("MALFORMED", lambda _: b"[1, 2, 3]"),
    "nested without end": ("MALFORMED", lambda _: b'{"x": ' + b"[" * 100_000),
    "too large": ("TOO_LARGE", lambda topic: as_bytes(topic).ljust(MAX_PAYLOAD_BYTES + 1)),
    "of the day after tomorrow": (
        "FROM_THE_FUTURE",
        lambda topic: as_bytes(topic, timedelta(hours=25)),
    ),
}


@contextmanager
def client(stage: Stage, vin: str, secret: str) -> Generator[mqtt.Client]:
    """A plain MQTT client with a vehicle's own account."""
    port = stage.layout.ports["mqtt"]
    assert wait_until(lambda: connack_code("127.0.0.1", port, vin, secret) == ACCEPTED, LET_IN_S), (
        f"{vin} is not let in"
    )
    made = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"raw-{vin}", protocol=mqtt.MQTTv5)
    made.username_pw_set(vin, secret)
    made.connect("127.0.0.1", port)
    made.loop_start()
    try:
        yield made
    finally:
        made.disconnect()
        made.loop_stop()


def send(sender: mqtt.Client, vin: str, topic: str, payload: bytes) -> str:
    """Publish, and return the topic once the broker has it."""
    name = f"{PREFIX}/{vin}/{topic}"
    told = sender.publish(name, payload, qos=1)
    told.wait_for_publish(SENT_S)
    assert told.is_published()
    return name
