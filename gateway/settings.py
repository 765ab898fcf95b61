"""Settings of the gateway (DOMAIN 8 and 20)."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class GatewaySettings(SettingsGroup):
    """The broker's password file, and how messages are taken in."""

    model_config = SettingsConfigDict(env_prefix="CAAS_GATEWAY_")
    about: ClassVar[str] = "gateway"

    # The broker's password file; unset = the gateway writes none.
    password_file: Path | None = None
    # The services' accounts that belong in it as well: a JSON object {user: secret}.
    accounts_file: Path | None = None
    # Changes are announced at once; looking again only covers what an announcement missed.
    password_recheck_s: float = Field(10.0, gt=0)
    batch_messages: int = Field(500, ge=1, le=10_000)
    batch_wait_s: float = Field(0.01, gt=0)
    # A vehicle's last_seen_at is written at most once in this time.
    seen_every_s: float = Field(5.0, ge=0)
    # How often silent vehicles are looked for and the presence gauges set.
    scan_every_s: float = Field(10.0, gt=0)
    drain_s: float = Field(5.0, ge=0)
    # How often the ends of the command log's chains are put into a checkpoint.
    checkpoint_every_s: float = Field(300.0, gt=0)


class PresenceSettings(SettingsGroup):
    """When a vehicle counts as OFFLINE or LIMITED (DOMAIN 8)."""

    model_config = SettingsConfigDict(env_prefix="CAAS_PRESENCE_")
    about: ClassVar[str] = "vehicle presence"

    silence_s: float = Field(300.0, gt=0)
    # A parked car reports every 300 s: on time is not silent.
    silence_grace_s: float = Field(15.0, ge=0)
    limited_below: float = Field(20.0, ge=0, le=100)
    # An outage shorter than this is a flap: counted, and no row of its own in the log.
    flap_s: float = Field(60.0, ge=0)
    # So many flaps, each within the window of the one before, make a vehicle unstable, until a
    # window has passed without one.
    unstable_flaps: int = Field(3, ge=1)
    unstable_window_s: float = Field(600.0, gt=0)
    # The connectivity log is kept so long.
    log_keep_days: float = Field(90.0, gt=0)
