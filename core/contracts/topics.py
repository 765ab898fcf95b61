"""Topic names of the command bus (BUS, Transport)."""

from enum import StrEnum

from core.ids import is_vin


class Topic(StrEnum):
    """The last level of a vehicle's topics."""

    CMD = "cmd"
    STORED = "stored"
    ANSWER = "answer"
    CONFIG = "config"
    STATUS = "status"
    TELEMETRY = "telemetry"
    EVENT = "event"
    PRESENCE = "presence"


UPWARD = frozenset(
    {Topic.ANSWER, Topic.CONFIG, Topic.STATUS, Topic.TELEMETRY, Topic.EVENT, Topic.PRESENCE}
)
RETAINED = frozenset({Topic.CONFIG, Topic.STATUS, Topic.PRESENCE})
MAX_PAYLOAD_BYTES = 256 * 1024


def topic_of(prefix: str, vin: str, topic: Topic) -> str:
    """``caas/v1/vehicles/{vin}/cmd`` and its like."""
    return f"{prefix}/{vin}/{topic.value}"


def filter_of(prefix: str, topic: Topic) -> str:
    """The subscription filter for one kind of message of every vehicle."""
    return f"{prefix}/+/{topic.value}"


def parse_topic(prefix: str, topic: str) -> tuple[str, Topic] | None:
    """(VIN, kind) of a vehicle topic, or None where it is none."""
    head, _, last = topic.rpartition("/")
    before, _, vin = head.rpartition("/")
    if before != prefix or not is_vin(vin):
        return None
    try:
        return vin, Topic(last)
    except ValueError:
        return None
