"""Where a demo's parts listen and keep their files, and the environment each is started with."""

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from caas.demo.secrets import DemoSecrets
from caas.supervisor.ports import Ports

HOST = "127.0.0.1"
PREFERRED_PORTS = {
    "postgres": 54320,
    # The services' own door to the broker, and those for vehicles.
    "mqtt": 1884,
    "mqtt-vehicles": 1883,
    "mqtt-certificates": 8883,
    "mqtt-secrets": 8884,
    "partners": 8090,
    "smtp": 8025,
    "api": 8000,
    "gateway": 8001,
    "ota-engine": 8002,
    "telemetry": 8003,
    "worker": 8004,
    "sim": 8005,
    "broker-log": 8006,
}
# The MQTT account of each service that is on the bus.
ACCOUNTS = {"gateway": "svc-gateway", "ota-engine": "svc-ota", "telemetry": "svc-telemetry"}


@dataclass(frozen=True)
class Pace:
    """How fast the demo's world turns, as settings of its parts."""

    settings: Mapping[str, str]


# Seconds instead of minutes and days, so that a person sees everything happen.
LIVELY = Pace(
    {
        "CAAS_OTA_BASE_DELAY_S": "5",
        "CAAS_OTA_COMMAND_TIMEOUT_S": "60",
        "CAAS_OTA_STATUS_TIMEOUT_S": "10",
        "CAAS_PARTNERS_STEP_DELAY_S": "3",
        "CAAS_SIM_RUNNING_S": "5",
        "CAAS_SIM_PARKED_S": "20",
    }
)
# For the story, which waits for every retry.
BRISK = Pace(
    {
        "CAAS_OTA_BASE_DELAY_S": "0.5",
        "CAAS_OTA_MAX_RETRIES": "2",
        "CAAS_OTA_COMMAND_TIMEOUT_S": "8",
        "CAAS_OTA_STATUS_TIMEOUT_S": "3",
        # Retries come sixty times as fast as in real life, so the hour's ten commands would be
        # used up in a minute by a story whose broker keeps dying.
        "CAAS_OTA_QUOTA_PER_HOUR": "100",
        "CAAS_PARTNERS_STEP_DELAY_S": "0.5",
        "CAAS_PARTNERS_REGISTRATION_DELAY_S": "0.3",
        "CAAS_PARTNERS_SETTLE_DELAY_S": "3",
        "CAAS_PARTNERS_REFUND_DELAY_S": "1",
        "CAAS_SIM_RUNNING_S": "1",
        "CAAS_SIM_PARKED_S": "2",
        "CAAS_TELEMETRY_RECEIPT_EVERY_S": "2",
        "CAAS_BILLING_RECOVER_AFTER_S": "5",
        "CAAS_BILLING_RECOVER_EVERY_S": "1",
        "CAAS_JOBS_HEARTBEAT_S": "1",
        "CAAS_JOBS_STALLED_S": "3",
        "CAAS_JOBS_POLL_S": "0.5",
    }
)


@dataclass(frozen=True)
class Layout:
    """One demo's data folder, ports and secrets."""

    data_dir: Path
    ports: Mapping[str, int]
    secrets: DemoSecrets
    pace: Pace
    dsn: str
    protocol: str

    @property
    def passwords_file(self) -> Path:
        return self.data_dir / "mqtt" / "passwords"

    @property
    def accounts_file(self) -> Path:
        return self.data_dir / "mqtt" / "accounts.json"

    @property
    def keys_file(self) -> Path:
        return self.data_dir / "keys" / "command-signing.json"

    @property
    def ca_dir(self) -> Path:
        return self.data_dir / "ca"

    @property
    def broker_log(self) -> Path:
        return self.data_dir / "mosquitto" / "log" / "mosquitto.log"

    @property
    def vehicles_port(self) -> int:
        """Where vehicles come in without TLS: the embedded broker has one door for everybody."""
        return self.ports["mqtt" if self.protocol == "3.1.1" else "mqtt-vehicles"]

    @property
    def fleet_file(self) -> Path:
        return self.data_dir / "fleet.json"

    def url(self, name: str) -> str:
        """Where a part of the platform answers HTTP."""
        return f"http://{HOST}:{self.ports[name]}"

    def argv(self, service: str) -> list[str]:
        """The command that runs a service with this interpreter."""
        return [sys.executable, "-m", "caas", "run", service]

    def environment(self, service: str) -> dict[str, str]:
        """The settings a service is started with."""
        common = {
            "CAAS_DB_DSN": self.dsn,
            "CAAS_DB_SET_ROLE": "true",
            "CAAS_MQTT_HOST": HOST,
            "CAAS_MQTT_PORT": str(self.vehicles_port if service == "sim" else self.ports["mqtt"]),
            "CAAS_MQTT_PROTOCOL": self.protocol,
            "CAAS_OPS_HOST": HOST,
            "CAAS_OPS_PORT": str(self.ports.get(service, 0)),
            "CAAS_SIGNING_KEYS_FILE": str(self.keys_file),
            "CAAS_GATEWAY_PASSWORD_FILE": str(self.passwords_file),
            "CAAS_GATEWAY_ACCOUNTS_FILE": str(self.accounts_file),
            "CAAS_CA_DIR": str(self.ca_dir),
            "CAAS_BROKER_LOG_FILE": str(self.broker_log),
        }
        account = ACCOUNTS.get(service)
        if account is not None:
            common["CAAS_MQTT_USERNAME"] = account
            common["CAAS_MQTT_PASSWORD"] = self.secrets.accounts()[account]
        if service == "gateway":
            common["CAAS_FOREIGN_MQTT_PASSWORD"] = self.secrets.svc_bridge
        return {**common, **self._api(), **self._partners(), **self._sim(), **self.pace.settings}

    def _api(self) -> dict[str, str]:
        partners = self.url("partners")
        secrets = self.secrets
        return {
            "CAAS_API_HOST": HOST,
            "CAAS_API_PORT": str(self.ports["api"]),
            "CAAS_API_PUBLIC_URL": self.url("api"),
            "CAAS_API_JWT_SECRET": secrets.jwt,
            "CAAS_PARTNER_FACTORY_URL": f"{partners}/factory",
            "CAAS_PARTNER_FACTORY_TOKEN": secrets.factory_token,
            "CAAS_PARTNER_FACTORY_WEBHOOK_SECRET": secrets.factory_webhook,
            "CAAS_PARTNER_PAYMENTS_URL": f"{partners}/payments",
            "CAAS_PARTNER_PAYMENTS_TOKEN": secrets.payment_token,
            "CAAS_PARTNER_PAYMENTS_WEBHOOK_SECRET": secrets.payment_webhook,
            "CAAS_PARTNER_VSS_URL": f"{partners}/vss",
            "CAAS_PARTNER_VSS_CLIENT_SECRET": secrets.vss_client,
            "CAAS_PARTNER_AUTHORITY_URL": f"{partners}/authority",
            "CAAS_PARTNER_AUTHORITY_TOKEN": secrets.authority_token,
            "CAAS_PARTNER_AUTHORITY_WEBHOOK_SECRET": secrets.authority_webhook,
            "CAAS_PARTNER_SMTP_HOST": HOST,
            "CAAS_PARTNER_SMTP_PORT": str(self.ports["smtp"]),
            "CAAS_NOTIFY_PUSH_URL": f"{partners}/mail/push",
            "CAAS_NOTIFY_SMS_URL": f"{partners}/mail/sms",
        }

    def _partners(self) -> dict[str, str]:
        secrets = self.secrets
        return {
            "CAAS_PARTNERS_HOST": HOST,
            "CAAS_PARTNERS_PORT": str(self.ports["partners"]),
            "CAAS_PARTNERS_SMTP_PORT": str(self.ports["smtp"]),
            "CAAS_PARTNERS_PLATFORM_URL": self.url("api"),
            "CAAS_PARTNERS_DATA_DIR": str(self.data_dir / "partners"),
            "CAAS_PARTNERS_FACTORY_TOKEN": secrets.factory_token,
            "CAAS_PARTNERS_PAYMENT_TOKEN": secrets.payment_token,
            "CAAS_PARTNERS_AUTHORITY_TOKEN": secrets.authority_token,
            "CAAS_PARTNERS_VSS_CLIENT_SECRET": secrets.vss_client,
            "CAAS_PARTNERS_FACTORY_WEBHOOK_SECRET": secrets.factory_webhook,
            "CAAS_PARTNERS_PAYMENT_WEBHOOK_SECRET": secrets.payment_webhook,
            "CAAS_PARTNERS_AUTHORITY_WEBHOOK_SECRET": secrets.authority_webhook,
        }

    def _sim(self) -> dict[str, str]:
        return {
            "CAAS_SIM_FLEET_FILE": str(self.fleet_file),
            "CAAS_SIM_DATA_DIR": str(self.data_dir / "vehicles"),
            "CAAS_SIM_KEYS_URL": self.url("gateway") + "/.well-known/caas-command-keys.json",
        }


@contextmanager
def reserved_ports(data_dir: Path) -> Generator[dict[str, int]]:
    """A free port for every part, the same as last time where it still is free.

    No other demo takes one of them before the end of the block.
    """
    ports = Ports(data_dir)
    try:
        yield {name: ports.choose(name, wish) for name, wish in PREFERRED_PORTS.items()}
    finally:
        ports.release()
