"""Settings: small frozen groups from ``CAAS_…`` or a ``.env`` file, built where a service starts.

A group lives in the room that uses it; the groups that several rooms use are here. Durations are
seconds and say so in their name (``…_s``).
"""

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import SettingsError

ENV_PREFIX = "CAAS_"


class SettingsGroup(BaseSettings):
    """Base of every group: frozen, from the environment, then ``.env``."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_file=".env")

    # What the group is about, for `caas doctor`.
    about: ClassVar[str] = ""

    @classmethod
    def names(cls) -> dict[str, str]:
        """Environment variable name → field name, for every setting of the group."""
        prefix = cls.model_config.get("env_prefix", "")
        return {f"{prefix}{field}".upper(): field for field in cls.model_fields}


G = TypeVar("G", bound=SettingsGroup)


def load(group: type[G], **overrides: Any) -> G:
    """Build a group; a bad value is a SettingsError of one line that names the variable."""
    try:
        return group(**overrides)
    except ValidationError as error:
        by_field = {field: name for name, field in group.names().items()}
        lines = [
            # Without a place where settings do not go together; the message names them.
            f"{by_field.get(str(item['loc'][0]), str(item['loc'][0]))}: {item['msg']}"
            if item["loc"]
            else item["msg"]
            for item in error.errors()
        ]
        raise SettingsError("; ".join(lines)) from None


def check_unknown(groups: Iterable[type[SettingsGroup]]) -> None:
    """SettingsError when a ``CAAS_…`` variable names no setting of any group (a typing mistake)."""
    known = {name for group in groups for name in group.names()}
    given = {name for name in os.environ if name.upper().startswith(ENV_PREFIX)}
    dotenv = Path(".env")
    if dotenv.is_file():
        for line in dotenv.read_text(encoding="utf-8").splitlines():
            name = line.split("=", 1)[0].strip().removeprefix("export ").strip()
            if "=" in line and name.upper().startswith(ENV_PREFIX):
                given.add(name)
    unknown = sorted(name for name in given if name.upper() not in known)
    if unknown:
        raise SettingsError(
            f"unknown setting {', '.join(unknown)}: `caas doctor --settings` lists the known ones"
        )


class DatabaseSettings(SettingsGroup):
    """Where the database is, and as whom a service talks to it."""

    model_config = SettingsConfigDict(env_prefix="CAAS_DB_")
    about: ClassVar[str] = "database"

    dsn: SecretStr = SecretStr("postgresql://caas@127.0.0.1:5432/caas")
    # Each room has a database role of its own. Where the DSN's user is a member of all of them
    # (demo, tests), a connection takes its room's role on; in production the DSN is the role.
    set_role: bool = False
    pool_min: int = Field(1, ge=1)
    pool_max: int = Field(8, ge=1)
    connect_timeout_s: float = Field(10.0, gt=0)


class BusSettings(SettingsGroup):
    """Where the MQTT broker is, and as whom a service talks to it."""

    model_config = SettingsConfigDict(env_prefix="CAAS_MQTT_")
    about: ClassVar[str] = "MQTT broker"

    host: str = "127.0.0.1"
    port: int = Field(1883, ge=1, le=65535)
    username: str | None = None
    password: SecretStr | None = None
    # 5 (Mosquitto, EMQX, HiveMQ) or 3.1.1 (amqtt).
    protocol: str = Field("5", pattern=r"^(5|3\.1\.1)$")
    tls: bool = False
    # Whom to believe; unset = what the system believes.
    ca_file: Path | None = None
    # A certificate of our own and its key, where the broker asks for one. Replaced files are read
    # again at the next connection.
    cert_file: Path | None = None
    key_file: Path | None = None
    # Topics are {prefix}/{vin}/…, DOMAIN 20 mqtt.prefix.
    prefix: str = "caas/v1/vehicles"
    # The slot of this replica: part of its client id, so a restart finds its session again.
    slot: int = Field(0, ge=0)
    keep_alive_s: int = Field(30, ge=5)
    receive_max: int = Field(1000, ge=1, le=65534)


class JobSettings(SettingsGroup):
    """How a service works off its queue of deferred jobs."""

    model_config = SettingsConfigDict(env_prefix="CAAS_JOBS_")
    about: ClassVar[str] = "deferred jobs"

    concurrency: int = Field(8, ge=1)
    # Jobs are announced at once; polling only covers what an announcement missed.
    poll_s: float = Field(2.0, gt=0)
    heartbeat_s: float = Field(5.0, gt=0)
    # A worker silent for this long is dead, and its jobs are taken up by another.
    stalled_s: float = Field(15.0, gt=0)
    # Less than a supervisor gives a stopping service (10 s), or it is killed with its jobs.
    drain_s: float = Field(7.0, gt=0)
    # Of a job that fails by itself; one that waits for a part which is away is never given up.
    max_attempts: int = Field(25, ge=1)


class LogSettings(SettingsGroup):
    """How a service logs."""

    model_config = SettingsConfigDict(env_prefix="CAAS_LOG_")
    about: ClassVar[str] = "logs"

    level: str = Field("INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$")


class OpsSettings(SettingsGroup):
    """Where a service serves ``/healthz`` and ``/metrics``; port 0 = any free one."""

    model_config = SettingsConfigDict(env_prefix="CAAS_OPS_")
    about: ClassVar[str] = "health and metrics endpoint"

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)


class AccessTokenSettings(SettingsGroup):
    """What access tokens are signed with; the same for every service that takes them."""

    model_config = SettingsConfigDict(env_prefix="CAAS_API_")
    about: ClassVar[str] = "access tokens"

    # HS256. The default is for demo and tests only.
    jwt_secret: SecretStr = Field(
        SecretStr("demo-jwt-secret-change-me-in-production"), min_length=32
    )


def is_loopback(host: str) -> bool:
    """Whether ``host``, an address or a name, is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class SigningSettings(SettingsGroup):
    """The keys that commands to vehicles are signed with."""

    model_config = SettingsConfigDict(env_prefix="CAAS_SIGNING_")
    about: ClassVar[str] = "command signing keys"

    # A JSON Web Key set of private Ed25519 keys, newest first: all of them are valid.
    keys_file: Path = Path(".caas/signing-keys.json")
    # A new key is announced for this long before it signs: longer than vehicles keep the set.
    announce_s: float = Field(1200.0, ge=0)
