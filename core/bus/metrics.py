"""Prometheus metrics of the bus, by the client's role (``service``, ``vehicle``), never by id."""

from collections import defaultdict
from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet

from prometheus_client import Counter, Gauge, Histogram

CONNECTED = Gauge("caas_bus_connected", "Bus clients connected to the broker", ["role"])
RECEIVED = Counter("caas_bus_received", "Messages received", ["role"])
ACKED = Counter("caas_bus_acked", "Messages acknowledged to the broker", ["role"])
STALE_ACKS = Counter(
    "caas_bus_stale_acks", "Acknowledgements dropped because their connection is gone", ["role"]
)
PUBLISHED = Counter("caas_bus_published", "Messages the broker confirmed", ["role"])
PUBLISH_FAILURES = Counter(
    "caas_bus_publish_failures", "Messages that failed, by reason", ["role", "reason"]
)
RECONNECTS = Counter("caas_bus_reconnects", "Connections after the first", ["role"])
PUBLISH_SECONDS = Histogram(
    "caas_bus_publish_seconds",
    "From publish to the broker's confirmation, waiting for a connection included",
    ["role"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class Depths(Protocol):
    """What a bus has in hand at this moment."""

    @property
    def inbox_depth(self) -> int: ...

    @property
    def unacknowledged(self) -> int: ...

    @property
    def in_flight(self) -> int: ...

    @property
    def unsent(self) -> int: ...


# Read when somebody asks, so that no message pays for them.
_DEPTHS: tuple[tuple[Gauge, Callable[[Depths], int]], ...] = (
    (
        Gauge("caas_bus_inbox_depth", "Messages received, not yet taken by the consumer", ["role"]),
        lambda bus: bus.inbox_depth,
    ),
    (
        Gauge("caas_bus_unacknowledged", "Messages received, not yet acknowledged", ["role"]),
        lambda bus: bus.unacknowledged,
    ),
    (
        Gauge("caas_bus_in_flight", "Messages sent, not yet confirmed", ["role"]),
        lambda bus: bus.in_flight,
    ),
    (
        Gauge("caas_bus_unsent", "Messages that wait for a connection or for room", ["role"]),
        lambda bus: bus.unsent,
    ),
)
_buses: defaultdict[str, WeakSet[Depths]] = defaultdict(WeakSet[Depths])


def _sum_of(role: str, depth: Callable[[Depths], int]) -> Callable[[], float]:
    return lambda: sum(map(depth, _buses[role]))


class BusMetrics:
    """The metrics of one role, with the label looked up once and not for each message."""

    def __init__(self, role: str, bus: Depths) -> None:
        self.role = role
        if role not in _buses:
            for gauge, depth in _DEPTHS:
                gauge.labels(role).set_function(_sum_of(role, depth))
        _buses[role].add(bus)
        self.publish_seconds = PUBLISH_SECONDS.labels(role)
        self.connected = CONNECTED.labels(role)
        self.received = RECEIVED.labels(role)
        self.acked = ACKED.labels(role)
        self.stale_acks = STALE_ACKS.labels(role)
        self.published = PUBLISHED.labels(role)
        self.reconnects = RECONNECTS.labels(role)

    def failed(self, reason: str) -> None:
        PUBLISH_FAILURES.labels(self.role, reason).inc()
