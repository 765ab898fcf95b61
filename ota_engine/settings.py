"""Settings of the OTA engine (DOMAIN 20, ota.* and its neighbours)."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup
from ota_engine.retry import RetryPolicy


class OtaSettings(SettingsGroup):
    """Retries, time limits, notices and the due-work scan of the engine."""

    model_config = SettingsConfigDict(env_prefix="CAAS_OTA_")
    about: ClassVar[str] = "OTA engine"

    base_delay_s: float = Field(30.0, gt=0)
    max_delay_s: float = Field(900.0, gt=0)
    max_retries: int = Field(5, ge=0)
    offline_factor: float = Field(4.0, ge=1)
    command_timeout_s: float = Field(300.0, ge=1)
    status_timeout_s: float = Field(30.0, gt=0)
    defer_max_s: float = Field(86400.0, gt=0)
    # How often a vehicle that is not there yet is looked for without a message from it.
    check_poll_s: float = Field(5.0, gt=0)
    # How often a delivery that waits for its safe state is looked at again without a message.
    defer_recheck_s: float = Field(30.0, gt=0)
    quota_per_hour: int = Field(10, ge=1)
    # So many of these a correction leaves alone: they are for what customers buy and give back.
    correction_reserve: int = Field(4, ge=0)

    # catalog.expiry_notice: 24 h ahead if longer than 3 days, else 1 h.
    expiry_notice_long_s: float = Field(86400.0, gt=0)
    expiry_notice_short_s: float = Field(3600.0, gt=0)
    expiry_notice_long_over_days: int = Field(3, ge=0)

    # support.first_contact, support.resolution
    ticket_first_contact_s: float = Field(86400.0, gt=0)
    ticket_resolution_s: float = Field(172800.0, gt=0)

    # The scan finds what no message or job announced: timers, and what a crash left behind.
    scan_interval_s: float = Field(1.0, gt=0)
    scan_batch: int = Field(100, ge=1)
    scan_concurrency: int = Field(4, ge=1)
    # A command that is still unpublished after this long is published (again).
    republish_s: float = Field(1.0, gt=0)
    publish_timeout_s: float = Field(5.0, gt=0)
    # Messages of one vehicle are handled in order, of this many vehicles at a time.
    inbox_lanes: int = Field(4, ge=1)

    @property
    def retry(self) -> RetryPolicy:
        return RetryPolicy(self.base_delay_s, self.max_delay_s, self.offline_factor)

    @property
    def command_timeout(self) -> timedelta:
        return timedelta(seconds=self.command_timeout_s)

    @property
    def status_timeout(self) -> timedelta:
        return timedelta(seconds=self.status_timeout_s)
