"""Settings of catalogue, purchase and withdrawal (DOMAIN 20)."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class ServicesSettings(SettingsGroup):
    """What limits a purchase, and how long a service may be given back."""

    model_config = SettingsConfigDict(env_prefix="CAAS_SERVICES_")
    about: ClassVar[str] = "catalogue, purchase, withdrawal"

    cap_one_time_minor: int = Field(300_000, gt=0)
    # A service that starts later than this cannot be held by the bank until then.
    hold_max_days: int = Field(7, ge=0)
    withdrawal_days: int = Field(14, ge=0)
    withdrawal_long_threshold_days: int = Field(14, ge=0)
    hide_after_withdrawal: bool = False
    # Browsing may show what the workshops said this long ago (DOMAIN 5).
    vss_browse_cache_s: float = Field(600.0, ge=0)
    workshop_url: str = "https://workshops.caas.example"
