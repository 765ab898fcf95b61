"""Settings of the vehicle's sale (DOMAIN 20)."""

from decimal import Decimal
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup

_DAY_S = 86400.0


class SaleSettings(SettingsGroup):
    """Deposit, deadlines, registration, delivery and app linking."""

    model_config = SettingsConfigDict(env_prefix="CAAS_SALE_")
    about: ClassVar[str] = "vehicle sale"

    deposit_percent: Decimal = Field(Decimal(10), gt=0, le=100)
    deposit_deadline_s: float = Field(30 * _DAY_S, gt=0)
    final_deadline_s: float = Field(14 * _DAY_S, gt=0)
    # Definitive declines of the final payment that end the sale.
    final_max_declines: int = Field(1, ge=1)
    # A payment under way holds a deadline back for this long.
    payment_grace_s: float = Field(900.0, gt=0)
    registration_waits_s: tuple[float, ...] = (30.0, 60.0, 120.0, 300.0)
    registration_poll_s: float = Field(600.0, gt=0)
    registration_late_s: float = Field(_DAY_S, gt=0)
    delivery_max_attempts: int = Field(3, ge=1)
    link_code_s: float = Field(900.0, gt=0)
    deadline_scan_s: float = Field(60.0, gt=0)
    manufacturer: str = "CaaS"
