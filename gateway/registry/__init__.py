"""Who is enrolled, with which credential; the broker's password file and revocation list follow."""

from gateway.registry.model import Certificate, Enrolment, Event, Filters, Vehicle
from gateway.registry.service import (
    certificates,
    certify,
    enroll,
    events,
    list_vehicles,
    revoke,
    rotate_secret,
    show,
)

__all__ = [
    "Certificate",
    "Enrolment",
    "Event",
    "Filters",
    "Vehicle",
    "certificates",
    "certify",
    "enroll",
    "events",
    "list_vehicles",
    "revoke",
    "rotate_secret",
    "show",
]
