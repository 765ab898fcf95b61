"""What the engine counts (DOMAIN 19, OTA)."""

from prometheus_client import Counter, Gauge, Histogram

ACTIVATIONS = Counter(
    "caas_ota_activations_total", "Activations that reached a state worth counting", ["state"]
)
ATTEMPTS = Counter(
    "caas_ota_attempts_total", "Attempts that ended", ["direction", "result", "reason", "attempt"]
)
TIME_TO_ACTIVE = Histogram(
    "caas_ota_time_to_active_seconds",
    "From the request reaching the engine to the car's proof",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600, 86400),
)
IN_FLIGHT = Gauge("caas_ota_deliveries_in_flight", "Deliveries that hold their vehicle")
COMMANDS = Counter("caas_ota_commands_total", "Commands admitted, by kind", ["kind"])
PUBLISHES = Counter("caas_ota_publishes_total", "Attempts to publish a command", ["outcome"])
MESSAGES = Counter("caas_ota_messages_total", "Bus messages handled", ["kind", "outcome"])
UNUSABLE = Counter("caas_ota_unusable_total", "Bus messages that cannot be used", ["reason"])
ESCALATIONS = Counter("caas_ota_escalations_total", "Deliveries given up", ["direction", "reason"])
SECURITY_ALERTS = Counter(
    "caas_ota_security_alerts_total", "Answers that hint at forged or repeated commands", ["reason"]
)
LATE_SUCCESSES = Counter("caas_ota_late_successes_total", "Proofs that came too late", ["state"])
QUOTA_WAITS = Counter("caas_ota_quota_waits_total", "Commands put off by the vehicle's quota")
WANTED_REFUSED = Counter(
    "caas_ota_wanted_refused_total", "Deliveries with parameters the catalogue does not have"
)
CORRECTIONS = Counter(
    "caas_ota_corrections_total", "Corrections of a drift that ended", ["outcome", "reason"]
)

_LAST_ATTEMPT_LABEL = 6


def attempt_label(attempt: int) -> str:
    """A bounded label: 1 to 6, then "more"."""
    return str(attempt) if attempt <= _LAST_ATTEMPT_LABEL else "more"
