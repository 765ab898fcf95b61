"""Settings of the gateway's own commands (DOMAIN 7, 9 and 20)."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class DispatchSettings(SettingsGroup):
    """How the gateway publishes the commands of the IoT API."""

    model_config = SettingsConfigDict(env_prefix="CAAS_DISPATCH_")
    about: ClassVar[str] = "the gateway's own commands"

    batch: int = Field(200, ge=1, le=5000)
    # New commands are announced at once; looking again only covers what an announcement missed.
    poll_s: float = Field(1.0, gt=0)
    # Not confirmed by the broker after this long: published again, the vehicle knows the id.
    republish_s: float = Field(15.0, gt=0)
    publish_timeout_s: float = Field(10.0, gt=0)
    # This long before a configuration is over, the vehicle is asked how it stands.
    query_lead_s: float = Field(30.0, gt=0)
