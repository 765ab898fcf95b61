"""Settings of accounts that change while the broker runs (ADR 5)."""

from typing import ClassVar

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from core.settings import SettingsGroup


class AccountsSettings(SettingsGroup):
    """How changes of accounts reach the running broker."""

    model_config = SettingsConfigDict(env_prefix="CAAS_ACCOUNTS_")
    about: ClassVar[str] = "accounts at the broker"

    # Over Mosquitto's dynamic security plugin; false for a broker without it. One that speaks only
    # MQTT 3.1.1 (the embedded one) reads the password file by itself.
    live: bool = True
    # Changes are announced; looking again covers what was missed while the broker was away.
    recheck_s: float = Field(15.0, gt=0)
    # How long the broker may take to answer.
    deadline_s: float = Field(5.0, gt=0)
    # Whoever makes a secret brings it to the broker within this time; then the old one is ended.
    grace_s: float = Field(10.0, gt=0)
    # A car whose connection was ended, and whose will has not come in this time, is OFFLINE.
    will_wait_s: float = Field(2.0, ge=0)
    # An import of more secrets than this leaves them to the password file.
    bulk_max: int = Field(1000, ge=0)
