"""Settings of the command line: where its data is, and which database logins it makes."""

from pathlib import Path
from typing import ClassVar

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class DataSettings(SettingsGroup):
    """Where `caas demo` and its like keep what they make."""

    model_config = SettingsConfigDict(env_prefix="CAAS_DATA_")
    about: ClassVar[str] = "data of demo and up"

    dir: Path = Path(".caas")


class LoginSettings(SettingsGroup):
    """Passwords that `caas migrate` gives the rooms' database roles; unset = no login."""

    model_config = SettingsConfigDict(env_prefix="CAAS_LOGIN_")
    about: ClassVar[str] = "database logins made by migrate"

    gateway_password: SecretStr | None = None
    ota_password: SecretStr | None = None
    telemetry_password: SecretStr | None = None
    api_password: SecretStr | None = None
    reader_password: SecretStr | None = None

    def by_role(self) -> dict[str, SecretStr]:
        """Role name → password, for those that are set."""
        given = {
            "caas_gateway": self.gateway_password,
            "caas_ota": self.ota_password,
            "caas_telemetry": self.telemetry_password,
            "caas_api": self.api_password,
            "caas_reader": self.reader_password,
        }
        return {role: password for role, password in given.items() if password is not None}
