"""Settings of the registry: the certificate authority, and what a VIN must be."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class CaSettings(SettingsGroup):
    """Where certificates come from: a small authority of our own, or somebody else's."""

    model_config = SettingsConfigDict(env_prefix="CAAS_CA_")
    about: ClassVar[str] = "certificates of vehicles"

    # The folder the broker reads ca.crt and crl.pem from, and where our own authority has its key.
    # Unset = no certificates.
    dir: Path | None = None
    # Certificates (PEM) of an external authority: then the platform registers and does not issue.
    bundle: Path | None = None
    # Its revocation lists (PEM, one or more), which the operator keeps fresh.
    bundle_crl: Path | None = None
    validity_days: int = Field(365, ge=1, le=7300)
    # How long a revocation list is good; a new one is made at each revocation and at half of this.
    crl_days: float = Field(7.0, gt=0, le=90)
    # A certificate that ends within this time counts as expiring.
    expiring_days: int = Field(30, ge=1)

    @model_validator(mode="after")
    def _external_needs_a_place(self) -> "CaSettings":
        if self.bundle is not None and self.dir is None:
            raise ValueError("CAAS_CA_BUNDLE needs CAAS_CA_DIR, the folder the broker reads")
        if self.bundle_crl is not None and self.bundle is None:
            raise ValueError("CAAS_CA_BUNDLE_CRL is for an external authority: set CAAS_CA_BUNDLE")
        return self

    @property
    def validity(self) -> timedelta:
        return timedelta(days=self.validity_days)

    @property
    def crl_validity(self) -> timedelta:
        return timedelta(days=self.crl_days)


class RegistrySettings(SettingsGroup):
    """What the registry takes in."""

    model_config = SettingsConfigDict(env_prefix="CAAS_REGISTRY_")
    about: ClassVar[str] = "vehicle registry"

    # Whether a VIN's ninth character must be its check digit (ISO 3779): of every vehicle, of none,
    # or of those whose VIN begins with one of the regions' characters.
    check_digit: Literal["never", "always", "region"] = "region"
    # North America and China, where the law demands it.
    check_digit_regions: str = Field("12345L", pattern=r"^[A-HJ-NPR-Z0-9]*$")
    # A longer import over HTTP is refused.
    import_max_bytes: int = Field(64 * 2**20, ge=1024)
