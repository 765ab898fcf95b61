"""Settings of the wanted configuration."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class WantedSettings(SettingsGroup):
    """When a report counts as drift, and how often it is corrected."""

    model_config = SettingsConfigDict(env_prefix="CAAS_WANTED_")
    about: ClassVar[str] = "wanted configuration"

    # Around the end of a service either value is right: vehicle and platform have their own clocks.
    end_grace_s: float = Field(300.0, ge=0)
    # Drifts of a vehicle in 24 h that are still corrected; somebody fights us beyond.
    drifts_per_day: int = Field(5, ge=1)
    # How often the engine is asked about one drift that it failed to correct; then once a day.
    rounds: int = Field(3, ge=1)
    # The engine is asked about a drift that it has no delivery for at most this often.
    ask_every_s: float = Field(30.0, ge=0)
    # Drifts that are over are kept so long.
    keep_days: float = Field(400.0, gt=0)
    # How often the gauges are set, and drifts looked at that no report may come for.
    look_every_s: float = Field(30.0, gt=0)

    @property
    def ask_every(self) -> timedelta:
        return timedelta(seconds=self.ask_every_s)

    @property
    def end_grace(self) -> timedelta:
        return timedelta(seconds=self.end_grace_s)
