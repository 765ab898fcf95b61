"""Prometheus metrics of the bus, by the client's role (``service``, ``vehicle``), never by id."""

from prometheus_client import Counter, Gauge

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


class BusMetrics:
    """The metrics of one role, with the label looked up once and not for each message."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.connected = CONNECTED.labels(role)
        self.received = RECEIVED.labels(role)
        self.acked = ACKED.labels(role)
        self.stale_acks = STALE_ACKS.labels(role)
        self.published = PUBLISHED.labels(role)
        self.reconnects = RECONNECTS.labels(role)

    def failed(self, reason: str) -> None:
        PUBLISH_FAILURES.labels(self.role, reason).inc()
