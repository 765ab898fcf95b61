"""What the registry hands out: vehicles, their certificates, what was done to them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from gateway.registry.ca import Issued

TRANSPORTS = ("mqtt", "iot_api")
MQTT = "mqtt"
ENROLLED = "ENROLLED"
REVOKED = "REVOKED"

Action = Literal[
    "ENROLLED",
    "IMPORTED",
    "REINSTATED",
    "SECRET_SET",
    "CERTIFICATE_ISSUED",
    "CERTIFICATE_REGISTERED",
    "CERTIFICATES_REVOKED",
    "REVOKED",
]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The outcome of enrolling or rotating: what the vehicle signs in with.

    ``secret`` is shown this once, null where none was made; ``certificate`` likewise.
    ``secret_hash``: what is kept of the secret.
    """

    vin: str
    secret: str | None
    certificate: Issued | None = None
    # False where the registry knew the vehicle already.
    created: bool = field(default=False, compare=False)
    secret_hash: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A vehicle as the registry and its last reports have it (`gateway.vehicle_v1`).

    ``certified_until``: the end of the last certificate that is not revoked.
    """

    vin: str
    model: str
    firmware: str
    transport: str
    enrolment: str
    enrolled_at: datetime
    presence: str
    last_seen_at: datetime | None
    operational: str | None
    signal_pct: float | None
    status_at: datetime | None
    reported_values: list[dict[str, Any]] | None
    reported_digest: str | None
    reported_seq: int | None
    reported_at: datetime | None
    has_secret: bool
    certified_until: datetime | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """A vehicle's certificate; ``serial`` and ``fingerprint`` (SHA-256) are hexadecimal."""

    fingerprint: str
    serial: str
    issuer: str
    own: bool
    not_before: datetime
    not_after: datetime
    registered_at: datetime
    revoked_at: datetime | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something done to a vehicle's place in the registry, and by whom."""

    at: datetime
    actor: str
    action: str
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which vehicles a list shows; None = whichever.

    ``search``: how the VIN begins. ``ends_before``: the last certificate ends before this.
    """

    presence: str | None = None
    model: str | None = None
    status: str | None = None
    transport: str | None = None
    search: str | None = None
    ends_before: datetime | None = None
