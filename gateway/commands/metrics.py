"""Prometheus metrics of the commands, as the gateway sees them come back."""

from prometheus_client import Counter, Histogram

# The bus takes milliseconds, a sleeping car hours.
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600, 86400)

ANSWERS = Counter(
    "caas_gateway_command_answers",
    "Answers to logged commands, each result of a command once",
    ["kind", "result", "reason"],
)
SIGNATURE_FAILURES = Counter(
    "caas_gateway_signature_failures",
    "Answers that say a command was forged, repeated or for another vehicle",
    ["reason"],
)
# From admission, not from publishing: both doors write the admission down, in one place.
ANSWER_SECONDS = Histogram(
    "caas_gateway_command_answer_seconds",
    "From a command's admission to its ACCEPTED or APPLIED reaching the gateway",
    buckets=_BUCKETS,
)
CONFIG_SECONDS = Histogram(
    "caas_gateway_command_config_seconds",
    "From a CONFIGURE's admission to the configuration that shows it reaching the gateway",
    buckets=_BUCKETS,
)
