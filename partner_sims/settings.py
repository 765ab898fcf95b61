"""Settings of the partner simulators: where they listen, whom they call back, how fast they are."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class PartnerSimsSettings(SettingsGroup):
    """The outside world's settings; the secrets' defaults are for demo and tests only."""

    model_config = SettingsConfigDict(env_prefix="CAAS_PARTNERS_")
    about: ClassVar[str] = "partner simulators"

    host: str = "127.0.0.1"
    port: int = Field(8090, ge=1, le=65535)
    smtp_port: int = Field(8025, ge=1, le=65535)
    # How others reach this process (links in certificates); empty = http://host:port.
    public_url: str = ""
    # Where the platform's webhooks are: {platform_url}/api/v1/webhooks/…
    platform_url: str = "http://127.0.0.1:8000"
    data_dir: Path = Path(".caas/partners")

    factory_token: SecretStr = SecretStr("demo-factory-token")
    payment_token: SecretStr = SecretStr("demo-payment-token")
    authority_token: SecretStr = SecretStr("demo-authority-token")
    vss_client_id: str = "caas"
    vss_client_secret: SecretStr = SecretStr("demo-vss-secret")
    vss_token_life_s: float = Field(3600.0, gt=0)
    factory_webhook_secret: SecretStr = SecretStr("demo-factory-webhook-secret")
    payment_webhook_secret: SecretStr = SecretStr("demo-payment-webhook-secret")
    authority_webhook_secret: SecretStr = SecretStr("demo-authority-webhook-secret")

    # Platforms the factory builds, besides those its VIN pool names.
    platforms: tuple[str, ...] = ("AURORA", "BOREAL", "CIERZO")
    # Time between two manufacturing steps.
    step_delay_s: float = Field(5.0, ge=0)
    # How long an authority takes to answer, and to end a review (DOMAIN 10: 5-30 s, or days).
    registration_delay_s: float = Field(1.0, ge=0)
    review_delay_s: float = Field(10.0, ge=0)
    # A 202 becomes a result; a capture settles; a refund completes (DOMAIN 11, 13: hours to days).
    pending_delay_s: float = Field(2.0, ge=0)
    settle_delay_s: float = Field(10.0, ge=0)
    refund_delay_s: float = Field(5.0, ge=0)
    # Waits before each resend of a webhook that was not confirmed (DOMAIN 17: five).
    webhook_retry_delays_s: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 30.0)
    webhook_timeout_s: float = Field(5.0, gt=0)

    @property
    def base_url(self) -> str:
        """The address others reach this process at, without a trailing slash."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104 - not bound here
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def database(self) -> Path:
        """The one file all state is in."""
        return self.data_dir / "partners.sqlite3"
