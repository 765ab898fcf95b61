"""Settings of the REST API and of its way to the partners."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from api.billing.settings import BillingSettings
from api.notifications.settings import NotificationSettings
from api.orders.settings import SaleSettings
from api.services.settings import ServicesSettings
from core.errors import SettingsError
from core.settings import AccessTokenSettings, SettingsGroup, is_loopback, load

# Whoever knows one of these can speak as a partner: an empty or guessable one is none.
WebhookSecret = Annotated[SecretStr, Field(min_length=16)]
Credential = Annotated[SecretStr, Field(min_length=1)]


class ApiSettings(AccessTokenSettings):
    """Where the REST API listens, and how it knows its callers (DOMAIN 2)."""

    model_config = SettingsConfigDict(env_prefix="CAAS_API_")
    about: ClassVar[str] = "REST API and logins"

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    # How customers reach the API and the portal: the base of links in e-mails.
    # Where it is not this machine's own, no secret may have its demo default.
    public_url: str = Field("http://127.0.0.1:8000", pattern=r"^https?://[^/\s]+")
    access_token_s: float = Field(900.0, gt=0)
    refresh_token_s: float = Field(30 * 86400.0, gt=0)
    activation_link_s: float = Field(7 * 86400.0, gt=0)
    # Logins a minute before 429, by user name and by caller's address.
    login_rate_user: int = Field(10, ge=1)
    login_rate_ip: int = Field(60, ge=1)
    # A longer body is refused with 413 before it is read to its end.
    max_body_bytes: int = Field(1024 * 1024, ge=1024)


class PartnerSettings(SettingsGroup):
    """Outside systems: addresses, credentials, timeouts, webhook secrets (DOMAIN 17, 20)."""

    model_config = SettingsConfigDict(env_prefix="CAAS_PARTNER_")
    about: ClassVar[str] = "factory, payment gateway, VSS, authorities, mail"

    factory_url: str = "http://127.0.0.1:8090/factory"
    factory_token: Credential = SecretStr("demo-factory-token")
    payments_url: str = "http://127.0.0.1:8090/payments"
    payments_token: Credential = SecretStr("demo-payment-token")
    vss_url: str = "http://127.0.0.1:8090/vss"
    vss_client_id: str = "caas"
    vss_client_secret: Credential = SecretStr("demo-vss-secret")
    authority_url: str = "http://127.0.0.1:8090/authority"
    authority_token: Credential = SecretStr("demo-authority-token")
    smtp_host: str = "127.0.0.1"
    smtp_port: int = Field(8025, ge=1, le=65535)
    mail_from: str = "CaaS <no-reply@caas.example>"

    factory_timeout_s: float = Field(30.0, gt=0)
    # Waits before each retry; 5xx of the factory is retried longer than a lost network.
    factory_network_waits_s: tuple[float, ...] = (1.0, 2.0, 4.0)
    factory_server_waits_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0, 16.0)
    payments_timeout_s: float = Field(10.0, gt=0)
    payments_waits_s: tuple[float, ...] = (2.0, 4.0, 8.0)
    vss_timeout_s: float = Field(5.0, gt=0)
    vss_waits_s: tuple[float, ...] = (5.0, 10.0, 20.0)
    # An authority's retries are states of the registration, not of one call.
    authority_timeout_s: float = Field(120.0, gt=0)

    factory_webhook_secret: WebhookSecret = SecretStr("demo-factory-webhook-secret")
    payments_webhook_secret: WebhookSecret = SecretStr("demo-payment-webhook-secret")
    authority_webhook_secret: WebhookSecret = SecretStr("demo-authority-webhook-secret")
    webhook_max_age_s: float = Field(300.0, gt=0)
    webhook_rate: int = Field(100, ge=1)


@dataclass(frozen=True, slots=True)
class Settings:
    """The groups every noun may need; a noun's own group lives in its folder."""

    api: ApiSettings
    partner: PartnerSettings
    services: ServicesSettings = field(default_factory=lambda: load(ServicesSettings))
    billing: BillingSettings = field(default_factory=lambda: load(BillingSettings))
    notify: NotificationSettings = field(default_factory=lambda: load(NotificationSettings))
    sale: SaleSettings = field(default_factory=lambda: load(SaleSettings))


def load_settings() -> Settings:
    """Every group from the environment; SettingsError names the bad one."""
    settings = Settings(
        api=load(ApiSettings),
        partner=load(PartnerSettings),
        services=load(ServicesSettings),
        billing=load(BillingSettings),
        notify=load(NotificationSettings),
        sale=load(SaleSettings),
    )
    refuse_demo_secrets(settings.api, settings.partner)
    return settings


def refuse_demo_secrets(api: ApiSettings, partner: PartnerSettings) -> None:
    """SettingsError where others reach the API and a secret is one that everybody can read here."""
    if is_loopback(urlsplit(api.public_url).hostname or ""):
        return
    known = [*_at_default(api), *_at_default(partner)]
    if known:
        raise SettingsError(
            f"{', '.join(known)}: still the demo's value, while CAAS_API_PUBLIC_URL is"
            f" {api.public_url}; set secrets of your own (openssl rand -base64 32)"
        )


def _at_default(group: SettingsGroup) -> Iterator[str]:
    """Names of the variables whose secret is the one in the source."""
    fields = type(group).model_fields
    for variable, name in group.names().items():
        default = fields[name].default
        if isinstance(default, SecretStr) and getattr(group, name) == default:
            yield variable
