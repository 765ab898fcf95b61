"""Settings of the ingestor (DOMAIN 20)."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class TelemetrySettings(SettingsGroup):
    """How samples are batched, receipted and refused."""

    model_config = SettingsConfigDict(env_prefix="CAAS_TELEMETRY_")
    about: ClassVar[str] = "telemetry ingestion"

    # A batch is committed at this many samples, or this long after its first message.
    batch_rows: int = Field(2000, ge=1, le=100_000)
    batch_wait_s: float = Field(0.05, gt=0)
    # The window of messages the broker may send unacknowledged: the bound of the memory used.
    receive_max: int = Field(2000, ge=1, le=65534)
    # `stored` goes to a vehicle at most once in this time.
    receipt_every_s: float = Field(5.0, gt=0)
    # A receipt names at most so many missing messages; beyond them it covers less. More than a
    # vehicle's buffer drops in a week away, or such a one would never get a receipt again.
    receipt_missing_max: int = Field(10_000, ge=1, le=30_000)
    # Older samples go to the quarantine: a dead clock must not make a partition for each day.
    oldest_days: int = Field(90, ge=1, le=36500)
    # Partitions are made this many days ahead.
    days_ahead: int = Field(2, ge=0)
    maintenance_every_s: float = Field(900.0, gt=0)
    # How long a stopping service goes on storing what it has received.
    drain_s: float = Field(5.0, ge=0)
