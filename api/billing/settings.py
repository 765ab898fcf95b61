"""Settings of payments and invoices (DOMAIN 20)."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class BillingSettings(SettingsGroup):
    """How long a payment's fate may be unknown, and what an invoice says."""

    model_config = SettingsConfigDict(env_prefix="CAAS_BILLING_")
    about: ClassVar[str] = "payments and invoices"

    # A payment still PROCESSING after this long is asked for at the gateway; longer than one
    # request with all its retries.
    recover_after_s: float = Field(60.0, gt=0)
    recover_every_s: float = Field(5.0, gt=0)
    # A service's hold that comes later than this is let go: the buyer does not wait any more.
    give_up_after_s: float = Field(900.0, gt=0)
    invoice_due_days: int = Field(30, ge=0)
