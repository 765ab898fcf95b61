"""Prometheus metrics of the gateway's own commands."""

from prometheus_client import Counter, Gauge

PUBLISHES = Counter(
    "caas_gateway_command_publishes", "Commands put on the bus, by outcome", ["outcome"]
)
OPEN = Gauge("caas_gateway_commands_open", "Commands that are not over yet, by state", ["state"])
ENDED = Counter(
    "caas_gateway_commands_ended", "Commands that are over, by state and error code",
    ["state", "error_code"],
)  # fmt: skip
