"""The demo's secrets: made once, kept in its data folder, readable by its owner only."""

import json
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from core.errors import SettingsError

# Shown on the screen, so that a person can type them.
STAFF_PASSWORD = "demo-staff-1"  # noqa: S105 - a demo's password, on its screen
SERVICE_ACCOUNTS = ("svc-gateway", "svc-bridge", "svc-ota", "svc-telemetry", "svc-monitor")


@dataclass(frozen=True, slots=True)
class DemoSecrets:
    """One random text for each pair of parts that must trust each other."""

    jwt: str
    factory_token: str
    payment_token: str
    authority_token: str
    vss_client: str
    factory_webhook: str
    payment_webhook: str
    authority_webhook: str
    svc_gateway: str
    svc_bridge: str
    svc_ota: str
    svc_telemetry: str
    svc_monitor: str

    def accounts(self) -> dict[str, str]:
        """The services' MQTT accounts: user name → secret."""
        return {name: getattr(self, name.replace("-", "_")) for name in SERVICE_ACCOUNTS}


def load_or_make(file: Path) -> DemoSecrets:
    """The secrets of a data folder; made at the first call."""
    if file.exists():
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            # A folder of an earlier version lacks what has come since.
            made = DemoSecrets(**{**_fresh(), **kept})
        except (ValueError, TypeError) as error:
            raise spoilt(file, error) from None
        if set(kept) == set(asdict(made)):
            return made
    else:
        made = DemoSecrets(**_fresh())
    write_private(file, json.dumps(asdict(made), indent=1))
    return made


def _fresh() -> dict[str, str]:
    return {field.name: secrets.token_urlsafe(24) for field in fields(DemoSecrets)}


def spoilt(file: Path, error: Exception) -> SettingsError:
    """What to say of a file of ours that cannot be read."""
    return SettingsError(f"cannot read {file} ({error}); `make demo-reset` starts over")


def write_private(file: Path, text: str) -> None:
    """Write a file only its owner may read, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text, encoding="utf-8")
    new.replace(file)
