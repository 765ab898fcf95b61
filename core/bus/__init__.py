"""Publish and subscribe with explicit acknowledgement: the port, its adapters and its twin."""

from core.bus.open import open_bus, topic_matches
from core.bus.port import (
    Bus,
    BusRefused,
    BusUnavailable,
    Message,
    OnConnect,
    Properties,
    PublishFailed,
    Subscription,
    Will,
    WillSource,
)

__all__ = [
    "Bus",
    "BusRefused",
    "BusUnavailable",
    "Message",
    "OnConnect",
    "Properties",
    "PublishFailed",
    "Subscription",
    "Will",
    "WillSource",
    "open_bus",
    "topic_matches",
]
