"""Prometheus metrics of the wanted configuration."""

from prometheus_client import Counter, Gauge

DRIFTING = Gauge("caas_gateway_drifting_vehicles", "Vehicles that drift, by state", ["state"])
DRIFTS = Counter("caas_gateway_drifts", "Drifts found, by cause", ["cause"])
DRIFTS_ENDED = Counter("caas_gateway_drifts_ended", "Drifts that ended, by how", ["ended"])
REPORTS_COMPARED = Counter(
    "caas_gateway_reports_compared",
    "Reports compared with what is wanted: same as in step before, looked at, or too old",
    ["outcome"],
)
