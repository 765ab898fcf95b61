"""Prometheus metrics of the foreign IoT APIs."""

from prometheus_client import Counter, Gauge, Histogram

CALLS = Counter(
    "caas_gateway_foreign_calls",
    "Calls of a foreign IoT API; outcome: the status, or why there was none",
    ["api", "call", "outcome"],
)
CALL_SECONDS = Histogram(
    "caas_gateway_foreign_call_seconds", "Time of a call of a foreign IoT API", ["api", "call"]
)
BREAKER = Gauge(
    "caas_gateway_foreign_breaker", "0 closed, 1 half open, 2 open, of this replica", ["api"]
)
LAG = Gauge(
    "caas_gateway_foreign_lag_seconds", "How late the last due vehicle was taken up", ["api"]
)
COMMANDS = Counter(
    "caas_gateway_foreign_commands",
    "Commands for vehicles behind a foreign IoT API, by what came of them",
    ["kind", "result", "reason"],
)
CALLBACKS = Counter(
    "caas_gateway_foreign_callbacks",
    "Requests of foreign IoT APIs; kind: status or telemetry",
    ["kind", "outcome"],
)
UNASSIGNED = Gauge(
    "caas_gateway_foreign_unassigned", "Vehicles with transport iot_api that no API has"
)
REFUSED = Counter(
    "caas_gateway_foreign_refused_publishes",
    "Messages of foreign vehicles that the broker refused, by its reason; each is kept",
    ["reason"],
)
UNSAID = Gauge("caas_gateway_foreign_unsaid_messages", "Messages that wait for the broker")
FAILED_STEPS = Counter(
    "caas_gateway_foreign_failed_steps",
    "Steps of vehicles behind a foreign IoT API that ended in an error of ours; each is put off",
    ["api", "what"],
)
