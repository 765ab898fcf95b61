"""Settings of the channels by which customers and staff are told things (DOMAIN 15)."""

from typing import ClassVar

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class NotificationSettings(SettingsGroup):
    """Where staff is reached, and the doors of e-mail, push and SMS.

    Host, port and sender of e-mail are the partner settings' (CAAS_PARTNER_SMTP_…).
    """

    model_config = SettingsConfigDict(env_prefix="CAAS_NOTIFY_")
    about: ClassVar[str] = "notifications"

    support_email: str = "support@caas.example"
    sales_email: str = "sales@caas.example"
    operations_email: str = "operations@caas.example"
    smtp_timeout_s: float = Field(10.0, gt=0)
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    smtp_starttls: bool = False
    # Without an address a channel is not there, and its messages are recorded as such.
    push_url: str | None = None
    sms_url: str | None = None
    sink_timeout_s: float = Field(5.0, gt=0)
