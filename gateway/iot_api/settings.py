"""Settings of the IoT API as the gateway serves it (DOMAIN 9 and 20)."""

from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class IotApiSettings(SettingsGroup):
    """The IoT API for other systems."""

    model_config = SettingsConfigDict(env_prefix="CAAS_IOT_API_")
    about: ClassVar[str] = "IoT API served"

    token_s: float = Field(3600.0, gt=0)
    # A rotated secret stays good for this long beside the new one.
    secret_overlap_s: float = Field(86_400.0, ge=0)
    # A signed request is this far from our clock at most.
    signature_window_s: float = Field(300.0, gt=0)
    # Where a proxy ends TLS with client certificates: the header with the certificate (PEM, also
    # URL-escaped, or its SHA-256 in hex), and the proxy's proof of itself in X-Proxy-Secret.
    certificate_header: str | None = None
    proxy_secret: SecretStr | None = Field(None, min_length=16)
    # Failed attempts to sign in, of one address as one client, in each process.
    failures_per_minute: int = Field(30, ge=1)
    # Every answer comes within 10 s (DOMAIN 9).
    answer_s: float = Field(9.0, gt=0, le=10)
    complete_s: float = Field(300.0, gt=0)
    quota_per_hour: int = Field(10, ge=1)
    # Texts for one vehicle's screen, of all clients.
    texts_per_hour: int = Field(10, ge=1)
    max_body_bytes: int = Field(65_536, ge=1024)
    # Before each repetition of a callback that was not taken; then it is a dead letter.
    callback_waits_s: tuple[float, ...] = (10.0, 30.0, 60.0, 300.0, 900.0)
    callback_timeout_s: float = Field(10.0, gt=0)
    callback_poll_s: float = Field(1.0, gt=0)
    # Only for development: a callback over plain HTTP can be read and changed on its way.
    callback_allow_http: bool = False
    # Telemetry waiting for a client: messages at most, and how old. Beyond that it is lost to it.
    telemetry_most: int = Field(10_000, ge=1)
    telemetry_keep_s: float = Field(3600.0, gt=0)

    @model_validator(mode="after")
    def _certificates_have_both(self) -> Self:
        if (self.certificate_header is None) != (self.proxy_secret is None):
            raise ValueError(
                "CAAS_IOT_API_CERTIFICATE_HEADER and CAAS_IOT_API_PROXY_SECRET belong together: "
                "set both or neither"
            )
        return self
