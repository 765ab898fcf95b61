"""Prometheus metrics of the gateway."""

from prometheus_client import Counter, Gauge

VEHICLES = Gauge("caas_gateway_vehicles", "Enrolled vehicles by presence", ["presence"])
MESSAGES = Counter("caas_gateway_messages", "Messages taken in, by kind", ["kind"])
UNUSABLE = Counter(
    "caas_gateway_unusable", "Messages that could not be used, by reason", ["reason"]
)
FLAPS = Counter("caas_gateway_presence_flaps", "Outages too short to be one")
UNSTABLE = Gauge("caas_gateway_unstable_vehicles", "Vehicles that flap again and again")
SILENCED = Counter("caas_gateway_presence_silenced", "Vehicles set OFFLINE for their silence")
REPORT_MISMATCHES = Counter(
    "caas_gateway_report_mismatches",
    "Reported configurations that contradict themselves (digest) or the registry (model)",
    ["what"],
)
PASSWORD_WRITES = Counter(
    "caas_gateway_password_file_writes", "Times the broker's password file was written"
)
KICKS = Counter(
    "caas_gateway_kicks", "Connections of vehicles ended by the gateway, by what ended", ["reason"]
)
FAREWELLS = Counter(
    "caas_gateway_farewells", "Vehicles said to be OFFLINE for a connection that was ended"
)
ACCOUNTS = Gauge(
    "caas_gateway_broker_accounts", "Accounts that changed since the broker read its password file"
)
ACCOUNTS_BEHIND = Gauge(
    "caas_gateway_broker_accounts_behind",
    "1 while the broker cannot be told of changed accounts; 0 where it does what the registry says",
)
CERTIFICATES = Gauge(
    "caas_gateway_certificates",
    "Vehicles' certificates by state: good, expiring (CAAS_CA_EXPIRING_DAYS), expired, revoked",
    ["state"],
)
CRL_WRITES = Counter("caas_gateway_crl_writes", "Times a revocation list was made")
CRL_NEXT_UPDATE = Gauge(
    "caas_gateway_crl_next_update_timestamp_seconds",
    "When the revocation list in place ends; past that the broker lets no certificate in",
)
