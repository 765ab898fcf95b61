"""Identifiers: UUIDv7 for everything but the vehicle, whose key is its VIN."""

import re
from uuid import UUID

import uuid_utils

from core.errors import Invalid

VIN_LENGTH = 17
# Of the check digit: the value of each sign, and the weight of each place (the ninth has none).
_VALUES = {
    sign: int(value)
    for sign, value in zip(
        "0123456789ABCDEFGHJKLMNPRSTUVWXYZ", "012345678912345678123457923456789", strict=True
    )
}
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
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


def has_check_digit(vin: str) -> bool:
    """Whether the ninth character of a well-formed VIN is the check digit of the others.

    ISO 3779; compulsory in North America (49 CFR 565.15) and China (GB 16735), free elsewhere.
    """
    total = sum(_WEIGHTS[place] * _VALUES[sign] for place, sign in enumerate(vin))
    return vin[8] == "0123456789X"[total % 11]
