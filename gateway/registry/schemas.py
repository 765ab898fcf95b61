"""Bodies of the registry's calls."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from core.clock import rfc3339
from gateway.registry.csv_rows import FIRMWARE
from gateway.registry.model import MQTT

_MAX_PEM = 16_384
# A model is looked up and a VIN parsed: here only what no text may have.
_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
Text = Annotated[str, Field(min_length=1, max_length=50, pattern=_PRINTABLE)]
Reason = Annotated[str, Field(min_length=1, max_length=200, pattern=_PRINTABLE)]
Firmware = Annotated[str, Field(pattern=rf"^{FIRMWARE}$")]
Pem = Annotated[str, Field(min_length=1, max_length=_MAX_PEM)]
Moment = Annotated[AwareDatetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]


class CamelModel(BaseModel):
    """camelCase outside; unknown members are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        from_attributes=True,
    )


class EnrollIn(CamelModel):
    """``csr`` or ``certificate`` (PEM), or neither: then a secret is made. ``again``: see docs."""

    vin: Text
    model: Text
    firmware: Firmware
    transport: Literal["mqtt", "iot_api"] = MQTT
    csr: Pem | None = None
    certificate: Pem | None = None
    again: bool = False


class RotateIn(CamelModel):
    csr: Pem | None = None
    certificate: Pem | None = None
    revoke_others: bool = False


class RevokeIn(CamelModel):
    reason: Reason | None = None


class IssuedOut(CamelModel):
    serial: str
    fingerprint: str
    issuer: str
    not_before: Moment
    not_after: Moment
    pem: str


class EnrolmentOut(CamelModel):
    """``secret`` and ``certificate`` are shown this once.

    ``notice``: what the broker could not be told yet.
    """

    vin: str
    created: bool
    secret: str | None
    certificate: IssuedOut | None
    notice: str | None = None


class VehicleOut(CamelModel):
    vin: str
    model: str
    firmware: str
    transport: str
    enrolment: str
    enrolled_at: Moment
    presence: str
    last_seen_at: Moment | None
    has_secret: bool
    certified_until: Moment | None


class CertificateOut(CamelModel):
    serial: str
    fingerprint: str
    issuer: str
    own: bool
    not_before: Moment
    not_after: Moment
    registered_at: Moment
    revoked_at: Moment | None
    reason: str | None


class EventOut(CamelModel):
    at: Moment
    actor: str
    action: str
    detail: dict[str, Any]


class VehicleDetailOut(VehicleOut):
    certificates: list[CertificateOut]
    events: list[EventOut]


class VehiclesOut(CamelModel):
    """``next``: give it as ``after`` to go on; null at the end."""

    vehicles: list[VehicleOut]
    next: str | None


class RevokedOut(CamelModel):
    vin: str
    # False where it was revoked already.
    revoked: bool
    # What the broker could not be told yet.
    notice: str | None = None


class BadLineOut(CamelModel):
    line: int
    reason: str


class ImportOut(CamelModel):
    """``bad``: the first thousand that are ``refused`` or ``repeated``. ``notice``: yet to come."""

    lines: int
    imported: int
    known: int
    repeated: int
    refused: int
    bad: list[BadLineOut]
    notice: str | None = None


class ListQuery(CamelModel):
    """Which vehicles; ``search``: how the VIN begins; ``expiringDays``: of the last certificate."""

    limit: int = Field(100, ge=1, le=1000)
    after: Text | None = None
    search: Text | None = None
    presence: Literal["ONLINE", "OFFLINE", "LIMITED"] | None = None
    model: Text | None = None
    status: Literal["ENROLLED", "REVOKED"] | None = None
    transport: Literal["mqtt", "iot_api"] | None = None
    expiring_days: int | None = Field(None, ge=0, le=36_500)


def end_of(query: ListQuery, now: datetime) -> datetime | None:
    """Before when a vehicle's last certificate must end to be listed; None = whenever."""
    return None if query.expiring_days is None else now + timedelta(days=query.expiring_days)
