"""Prometheus gauges of the broker's own figures; NaN until the broker tells one."""

import math

from prometheus_client import Gauge

# Mosquitto's topic below $SYS/broker/ → its gauge. Counters of the broker are gauges here: they
# begin anew when it does, and every replica shows the same figure.
BY_TOPIC = {
    "clients/connected": Gauge("caas_broker_connections", "Connections the broker has"),
    "clients/disconnected": Gauge("caas_broker_sessions_away", "Sessions kept for clients away"),
    "subscriptions/count": Gauge("caas_broker_subscriptions", "Subscriptions in the broker"),
    "store/messages/count": Gauge("caas_broker_messages_stored", "Messages the broker keeps"),
    "store/messages/bytes": Gauge("caas_broker_bytes_stored", "Payload bytes the broker keeps"),
    "publish/messages/dropped": Gauge(
        "caas_broker_messages_dropped", "Messages the broker dropped since it started: alarm on it"
    ),
    "load/messages/received/1min": Gauge(
        "caas_broker_messages_received_per_minute", "MQTT packets in, mean of a minute"
    ),
    "load/messages/sent/1min": Gauge(
        "caas_broker_messages_sent_per_minute", "MQTT packets out, mean of a minute"
    ),
}

# Mosquitto tells a figure when it has changed and keeps it for a minute, so one that stands still
# may come late: until then it is not known, which is something else than zero.
for _gauge in BY_TOPIC.values():
    _gauge.set(math.nan)
