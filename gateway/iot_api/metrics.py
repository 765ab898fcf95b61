"""Prometheus metrics of the IoT API served; its requests are `caas_iot_requests_total`."""

from prometheus_client import Counter, Gauge

TOKENS = Counter("caas_iot_tokens", "Requests for a token, by outcome", ["outcome"])
REFUSED = Counter("caas_iot_refused", "Callers that did not prove who they are, by way", ["way"])
CALLBACKS = Counter("caas_iot_callbacks", "Tries to deliver a callback, by outcome", ["outcome"])
WAITING = Gauge("caas_iot_callbacks_waiting", "Callbacks not delivered, by state", ["state"])
PUSHES = Counter("caas_iot_pushes", "Tries to push telemetry, by outcome", ["outcome"])
PUSHES_LOST = Counter(
    "caas_iot_pushes_lost", "Telemetry messages a client did not get, by reason", ["reason"]
)
PUSHES_WAITING = Gauge("caas_iot_pushes_waiting", "Telemetry messages on their way to clients")
