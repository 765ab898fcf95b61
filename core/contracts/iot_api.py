"""The IoT API's bodies (DOMAIN 9), the same whether we serve it or call a foreign one.

Times are RFC 3339 with milliseconds, UTC. Members of a foreign answer that are not named here are
ignored; those with a default may be missing in it.
"""

import hashlib
import hmac
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from core.clock import rfc3339
from core.ids import is_vin

# `MODULE.parameter`, as a line of the digest names it.
PARAMETER_NAME = r"^[A-Z][A-Z0-9_]*\.[a-z][a-z0-9_]*$"
CALLBACK_PATH = "/caas/webhooks/ota-status"
TELEMETRY_PATH = "/telemetry"
# Of a callback: hex HMAC-SHA256 of the body under the secret shared with its receiver.
SIGNATURE_HEADER = "X-Signature"
MESSAGE_ID_HEADER = "X-Webhook-Id"
TIMESTAMP_HEADER = "X-Webhook-Timestamp"
REQUEST_ID_HEADER = "X-Request-ID"
# Of a signed request, with SIGNATURE_HEADER.
KEY_HEADER = "X-Api-Key"
TIME_HEADER = "X-Timestamp"

SERVICE_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("in UTC this is past the year 9999, or before the year 1") from error


Moment = Annotated[
    AwareDatetime,
    AfterValidator(_utc),
    PlainSerializer(rfc3339, return_type=str, when_used="json"),
]
Value = bool | int | float | str


def _vin(value: str) -> str:
    if not is_vin(value):
        raise ValueError("a VIN has 17 characters, upper case, no I, O, Q")
    return value


Vin = Annotated[
    str,
    AfterValidator(_vin),
    WithJsonSchema({"type": "string", "pattern": "^[A-HJ-NPR-Z0-9]{17}$"}),
]


def request_signature(
    secret: str, *, method: str, target: str, moment: str, request_id: str, body: bytes
) -> str:
    """Hex HMAC-SHA256 over five parts joined by LF (docs/iot-api.md, Signed requests).

    ``target``: path with query, as sent. ``moment``, ``request_id``: those headers, as sent; an
    absent request id is empty. It is signed so that nobody else can order the same again under
    another one.
    """
    head = "\n".join((method, target, moment, request_id, "")).encode()
    return hmac.new(secret.encode(), head + body, hashlib.sha256).hexdigest()


class CommandStatus(StrEnum):
    """Where a command stands (DOMAIN 7, Command states)."""

    QUEUED = "QUEUED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class DurationType(StrEnum):
    TEMPORARY = "TEMPORARY"
    PERMANENT = "PERMANENT"
    SUBSCRIPTION = "SUBSCRIPTION"


class Connectivity(StrEnum):
    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    LIMITED = "LIMITED"


class IotBody(BaseModel):
    """Base of every body: camelCase on the wire, frozen."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore"
    )


class Duration(IotBody):
    """How long the configuration is to last; ``expiry_date`` belongs to TEMPORARY."""

    type: DurationType
    expiry_date: Moment | None = None
    auto_renewal: bool = False


class Configuration(IotBody):
    """What to set: a feature flag is a parameter set to true; both are named MODULE.parameter.

    With neither, the service's own mapping for the vehicle's model and firmware is meant.
    """

    feature_flags: list[Annotated[str, Field(pattern=PARAMETER_NAME)]] = []
    parameters: dict[Annotated[str, Field(pattern=PARAMETER_NAME)], Value] = {}


class ConfigureRequest(IotBody):
    """``POST /vehicle/{vin}/configure``."""

    model_config = ConfigDict(extra="forbid")

    vin: Vin
    service_id: str = Field(pattern=SERVICE_ID)
    configuration: Configuration = Configuration()
    duration: Duration


class DisplayRequest(IotBody):
    """``POST /vehicle/{vin}/display``: a text for the screen. Goes beyond DOMAIN 9."""

    model_config = ConfigDict(extra="forbid")

    vin: Vin
    text: str = Field(min_length=1, max_length=500)
    level: Literal["INFO", "WARNING"] = "INFO"


class CommandAccepted(IotBody):
    """The 202 of configure: the command is durable, nothing more is promised."""

    command_id: UUID
    request_id: str
    status: CommandStatus
    timestamp: Moment


class CommandView(CommandAccepted):
    """``GET /vehicle/{vin}/commands/{commandId}``."""

    error_code: str | None = None
    completed_at: Moment | None = None


class HistoryEntry(CommandView):
    """One command of ``GET /vehicle/{vin}/history``, newest first."""

    service_id: str | None = None
    configuration: Configuration = Configuration()
    requested_at: Moment


class History(IotBody):
    commands: list[HistoryEntry]


class ActiveServiceView(IotBody):
    service_id: str
    activation_date: Moment
    status: Literal["ACTIVE", "PENDING", "ERROR"]


class DiagnosticsView(IotBody):
    error_codes: list[str] = []
    firmware_version: str
    network_signal_strength: float | None = Field(None, ge=0, le=100)


class StatusView(IotBody):
    """``GET /vehicle/{vin}/status``: VehicleStatus of DOMAIN 8.

    ``operational`` to ``reported_configuration`` go beyond DOMAIN: a foreign API may lack them.
    """

    vin: Vin
    connectivity: Connectivity
    last_seen: Moment | None = None
    active_services: list[ActiveServiceView] = []
    diagnostics: DiagnosticsView
    operational: Literal["RUNNING", "PARKED", "CHARGING", "OFF"] | None = None
    model: str | None = None
    reported_configuration: dict[str, Value] | None = None
    reported_at: Moment | None = None


class HealthView(IotBody):
    """``GET /vehicle/{vin}/health``."""

    reachable: bool
    last_seen: Moment | None = None
    network_signal_strength: float | None = None
    latency_ms: float | None = None
    packet_loss: float | None = None


class ErrorCodeView(IotBody):
    code: str
    text: str


class DiagnosticsReport(IotBody):
    """``GET /vehicle/{vin}/diagnostics``; ``vehicle_log`` is the newest events, newest first."""

    error_codes: list[ErrorCodeView] = []
    firmware_version: str
    network_signal_strength: float | None = None
    latency_ms: float | None = None
    packet_loss: float | None = None
    vehicle_log: list[dict[str, Any]] = []


class OtaStatus(IotBody):
    """The signed callback: what became of a command."""

    request_id: str
    command_id: UUID
    vin: Vin
    status: Literal["ACTIVATED", "FAILED"]
    error_code: str | None = None
    timestamp: Moment


class TelemetryPush(IotBody):
    """``POST /telemetry``: one batch as the vehicle sent it (BUS, TelemetryBatch)."""

    vin: Vin
    boot: int = Field(ge=0)
    n: int = Field(ge=0)
    samples: list[dict[str, Any]] = Field(min_length=1, max_length=500)


class TokenAnswer(BaseModel):
    """OAuth2 client credentials (RFC 6749, 4.4): ``POST /oauth/token``."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a type, no secret
    expires_in: int
    scope: str = ""
