"""Settings of the foreign IoT APIs the gateway calls (DOMAIN 9 and 20)."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class ForeignSettings(SettingsGroup):
    """How vehicles behind foreign IoT APIs are served."""

    model_config = SettingsConfigDict(env_prefix="CAAS_FOREIGN_")
    about: ClassVar[str] = "foreign IoT APIs"

    # Which APIs there are and whose vehicles they have; unset = there are none.
    apis_file: Path | None = None
    # An account of its own on the broker: the gateway's own may not read commands.
    mqtt_username: str = "svc-bridge"
    mqtt_password: SecretStr | None = None

    @field_validator("apis_file", "mqtt_password", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        """As compose gives what nobody has set."""
        return None if value == "" else value

    # How often due work is looked for; news in this process is taken up at once.
    scan_every_s: float = Field(0.5, gt=0)
    # How often newly enrolled vehicles are looked for.
    adopt_every_s: float = Field(10.0, gt=0)
    # A vehicle whose replica died is taken up by another after this long.
    lease_s: float = Field(90.0, ge=30)
    batch_messages: int = Field(200, ge=1, le=5000)
    batch_wait_s: float = Field(0.01, gt=0)
    # Below presence.silence: without other news, the status is said again this often.
    alive_every_s: float = Field(200.0, gt=0)
    # Without an answer of the API: first, doubling, and longest wait.
    retry_s: float = Field(1.0, gt=0)
    retry_max_s: float = Field(30.0, gt=0)
    # How long after its end a command is still asked about: the API may be late.
    late_s: float = Field(120.0, ge=0)
    # After UNSAFE_STATE from an API that does not say that its vehicle drives: no status before, so
    # that the engine does not use the vehicle's quota up by asking again.
    unsafe_quiet_s: float = Field(600.0, ge=0)
    # Events of the vehicle log that appear this much later than newer ones are still said.
    events_overlap_s: float = Field(86_400.0, ge=0)
    keep_days: float = Field(7.0, gt=0)
    max_age_s: float = Field(300.0, gt=0)
    callbacks_per_min: int = Field(100, ge=1)
    telemetry_per_min: int = Field(6000, ge=1)
    breaker_failures: int = Field(5, ge=1)
    breaker_window_s: float = Field(60.0, gt=0)
    breaker_open_s: float = Field(60.0, gt=0)
