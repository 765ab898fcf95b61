"""The file that says which foreign IoT APIs there are: addresses, credentials, vehicles."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from core.errors import SettingsError


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OAuth2(_Part):
    """Client credentials (RFC 6749, 4.4); ``token_path`` is below the base URL, or a whole URL."""

    kind: Literal["oauth2"]
    client_id: str
    secret_file: Path
    token_path: str = "/oauth/token"  # noqa: S105 - a path
    scope: str = ""


class ClientCertificate(_Part):
    """mTLS: a client certificate and its key, in PEM."""

    kind: Literal["mtls"]
    certificate_file: Path
    key_file: Path


class KeyAndHmac(_Part):
    """A key's name and a shared secret that signs each request."""

    kind: Literal["hmac"]
    key_id: str
    secret_file: Path


Auth = Annotated[OAuth2 | ClientCertificate | KeyAndHmac, Field(discriminator="kind")]


class Paths(_Part):
    """Below the base URL; ``display`` goes beyond DOMAIN 9, so it is only called where set."""

    configure: str = "/vehicle/{vin}/configure"
    command: str = "/vehicle/{vin}/commands/{command_id}"
    status: str = "/vehicle/{vin}/status"
    health: str = "/vehicle/{vin}/health"
    diagnostics: str = "/vehicle/{vin}/diagnostics"
    display: str | None = None

    @field_validator("*")
    @classmethod
    def _usable(cls, path: str | None, info: ValidationInfo) -> str | None:
        names = {"vin": "V", "command_id": "C"} if info.field_name == "command" else {"vin": "V"}
        try:
            made = None if path is None else path.format(**names)
        except (KeyError, IndexError, ValueError, AttributeError):
            made = ""
        if made is not None and not all(value in made for value in names.values()):
            wanted = " and ".join(f"{{{name}}}" for name in names)
            raise ValueError(f"a path here has {wanted} in it, and nothing else in braces")
        return path


class ForeignApi(_Part):
    """One API. ``vins``: VINs, or patterns such as ``VF1*``; the most exact one decides."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    base_url: HttpUrl
    vins: list[str] = ["*"]
    auth: Auth
    paths: Paths = Paths()
    # Trusted instead of the system's, for the API's own certificate.
    ca_file: Path | None = None
    # With it, callbacks are taken; without it, nothing but polling says how a command ended.
    callback_secret_file: Path | None = None
    telemetry: Literal["push", "none"] = "none"
    # Read the vehicle log for events (LINK_CONFIRMED and its like).
    events: bool = False
    timeout_s: float = Field(10.0, gt=0, le=60)
    concurrency: int = Field(20, ge=1, le=500)
    poll_s: float = Field(60.0, gt=0)
    # While a vehicle is awaited: after a deferral, or while it is unreachable with a command open.
    waiting_poll_s: float = Field(10.0, gt=0)
    command_poll_s: float = Field(5.0, gt=0)

    @field_validator("vins")
    @classmethod
    def _upper_case(cls, vins: list[str]) -> list[str]:
        for pattern in vins:
            if not pattern or pattern != pattern.upper():
                raise ValueError(f"{pattern!r} fits no vehicle: VINs are upper case")
        return vins

    @property
    def has_callbacks(self) -> bool:
        return self.callback_secret_file is not None


class ApisFile(_Part):
    """The whole file."""

    apis: list[ForeignApi] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_once(self) -> "ApisFile":
        names = [api.name for api in self.apis]
        if len(set(names)) != len(names):
            raise ValueError("two APIs have the same name")
        return self


def load_apis(path: Path | None) -> list[ForeignApi]:
    """The APIs of a file, none without one; SettingsError says what is wrong in one line.

    Paths in the file are relative to its own folder.
    """
    if path is None:
        return []
    try:
        found = ApisFile.model_validate_json(path.read_bytes()).apis
    except OSError as error:
        raise SettingsError(f"CAAS_FOREIGN_APIS_FILE {path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"CAAS_FOREIGN_APIS_FILE {path}: {where}: {first['msg']}") from None
    return [_rooted(api, path.parent) for api in found]


def api_of(vin: str, apis: list[ForeignApi]) -> str | None:
    """The name of the API that has a vehicle; the longest matching pattern decides, then order."""
    best: tuple[int, str] | None = None
    for api in apis:
        for pattern in api.vins:
            if fnmatchcase(vin, pattern) and (best is None or len(pattern) > best[0]):
                best = (len(pattern), api.name)
    return None if best is None else best[1]


def read_secret(path: Path) -> str:
    """The first line of a secret's file; SettingsError where there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SettingsError(f"cannot read the secret {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"the secret {path} is not UTF-8") from None
    secret = lines[0].strip() if lines else ""
    if not secret:
        raise SettingsError(f"the secret {path} is empty")
    return secret


def _rooted(api: ForeignApi, folder: Path) -> ForeignApi:
    """The same with its files where they are."""
    auth = api.auth.model_copy(
        update={
            name: folder / value
            for name, value in api.auth.model_dump().items()
            if isinstance(value, Path)
        }
    )
    files = {
        name: None if value is None else folder / value
        for name, value in (
            ("ca_file", api.ca_file),
            ("callback_secret_file", api.callback_secret_file),
        )
    }
    return api.model_copy(update={"auth": auth, **files})
