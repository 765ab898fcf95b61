"""Identifiers: UUIDv7 for everything but the vehicle, whose key is its VIN."""

import re
from uuid import UUID

import uuid_utils

from core.errors import Invalid

VIN_LENGTH = 17
_VIN = re.compile(r"[A-HJ-NPR-Z0-9]{17}")


def new_id() -> UUID:
    """A fresh UUIDv7: unique, and sorted by time of making."""
    return UUID(bytes=uuid_utils.uuid7().bytes)


def is_vin(text: str) -> bool:
    """True for 17 upper-case letters and digits without I, O, Q (BUS, ISO 3779)."""
    return _VIN.fullmatch(text) is not None


def parse_vin(text: str) -> str:
    """``text`` in upper case if it is a VIN, else Invalid."""
    vin = text.strip().upper()
    if not is_vin(vin):
        raise Invalid("INVALID_VIN", "a VIN has 17 letters and digits, without I, O and Q")
    return vin
