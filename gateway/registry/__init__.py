"""Who is enrolled, with which credential; the broker's password file follows."""

from gateway.registry.service import (
    Enrolment,
    Vehicle,
    enroll,
    list_vehicles,
    revoke,
    rotate_secret,
    show,
)

__all__ = [
    "Enrolment",
    "Vehicle",
    "enroll",
    "list_vehicles",
    "revoke",
    "rotate_secret",
    "show",
]
