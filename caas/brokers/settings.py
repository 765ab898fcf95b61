"""Settings of the reader of the broker's log."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class BrokerLogSettings(SettingsGroup):
    """Where ``caas run broker-log`` finds the broker's log, and how much of it stays."""

    model_config = SettingsConfigDict(env_prefix="CAAS_BROKER_LOG_")
    about: ClassVar[str] = "log of the MQTT broker"

    # What `log_dest file` of Mosquitto names (mosquitto/log.conf).
    file: Path = Path("/mosquitto/log/mosquitto.log")
    # Emptied at this size, once everything is read.
    keep_mib: float = Field(32.0, gt=0)
    every_s: float = Field(0.1, gt=0)
    # Of one kind and client; more of them in the time are counted, and told in one line.
    most_lines: int = Field(10, ge=1)
    most_lines_s: float = Field(60.0, gt=0)
