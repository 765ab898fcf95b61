"""Prometheus metrics of the ingestor."""

from prometheus_client import Counter, Gauge, Histogram

SAMPLES = Counter("caas_telemetry_samples_stored", "Samples stored")
DUPLICATES = Counter("caas_telemetry_samples_duplicate", "Samples that were stored already")
MESSAGES = Counter("caas_telemetry_messages", "Messages stored, by kind", ["kind"])
QUARANTINED = Counter("caas_telemetry_quarantined", "Messages quarantined, by reason", ["reason"])
RECEIPTS = Counter("caas_telemetry_receipts", "Receipts to vehicles, by outcome", ["outcome"])
BATCH_SECONDS = Histogram(
    "caas_telemetry_batch_seconds",
    "Time from a batch's end to its commit",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
BATCH_ROWS = Histogram(
    "caas_telemetry_batch_rows",
    "Samples and other messages in a batch",
    buckets=(1, 10, 50, 100, 500, 1000, 2000, 5000),
)
LAG = Gauge(
    "caas_telemetry_lag_seconds", "Age, at its commit, of the newest sample of the last batch"
)
