"""The gateway's decisions: what a card does, which movement a transaction allows (DOMAIN 11)."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from core.machine import Machine


class Status(StrEnum):
    """Where a transaction stands."""

    PENDING = "PENDING"
    AUTHORIZED = "AUTHORIZED"
    CAPTURED = "CAPTURED"
    VOIDED = "VOIDED"
    DECLINED = "DECLINED"


class Event(StrEnum):
    """What happens to it."""

    AUTHORISE = "AUTHORISE"
    CAPTURE = "CAPTURE"
    VOID = "VOID"
    DECLINE = "DECLINE"


TRANSACTION = Machine(
    "transaction",
    [
        (Status.PENDING, Event.AUTHORISE, Status.AUTHORIZED),
        (Status.PENDING, Event.CAPTURE, Status.CAPTURED),
        (Status.PENDING, Event.DECLINE, Status.DECLINED),
        (Status.PENDING, Event.VOID, Status.VOIDED),
        (Status.AUTHORIZED, Event.CAPTURE, Status.CAPTURED),
        (Status.AUTHORIZED, Event.VOID, Status.VOIDED),
    ],
    initial=Status.PENDING,
    final=[Status.CAPTURED, Status.VOIDED, Status.DECLINED],
)

OK = "OK"
PENDING_CARD = "PENDING"
SETTLEMENT_FAILS = "SETTLEMENT_FAILS"

# The test cards, by what they do. The numbers are the ones payment people know.
_OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "4000000000000002": "CARD_DECLINED",
        "4000000000009995": "INSUFFICIENT_FUNDS",
        "4000000000000069": "EXPIRED_CARD",
        "4000000000000127": "INCORRECT_CVC",
        "4000000000003220": PENDING_CARD,
        "4000000000000341": SETTLEMENT_FAILS,
    }
)

DECLINES: Mapping[str, str] = MappingProxyType(
    {
        "CARD_DECLINED": "the issuer declined the card",
        "INSUFFICIENT_FUNDS": "the account has not enough funds",
        "EXPIRED_CARD": "the card has expired",
        "INCORRECT_CVC": "the security code is wrong",
        "INVALID_CARD": "the payment token is not known",
    }
)

_FEE_FIXED_MINOR = 25
_FEE_PER_MILLE = 14


def outcome_of(pan: str) -> str:
    """What the card does when money is asked of it; a card not listed pays."""
    return _OUTCOMES.get(pan, OK)


def is_card_number(pan: str) -> bool:
    """True for 12 to 19 digits with a right check digit (Luhn)."""
    if not (pan.isascii() and pan.isdigit() and 12 <= len(pan) <= 19):
        return False
    doubled = [int(digit) * (2 if i % 2 else 1) for i, digit in enumerate(reversed(pan))]
    return sum(value // 10 + value % 10 for value in doubled) % 10 == 0


def brand_of(pan: str) -> str:
    """The card scheme, by the first digits."""
    return {"4": "visa", "5": "mastercard", "2": "mastercard", "3": "amex"}.get(pan[0], "unknown")


def is_expired(exp: str, year: int, month: int) -> bool | None:
    """True if ``exp`` (MM/YY or MM/YYYY) lies before ``year``-``month``; None if unreadable."""
    months, _, years = exp.replace(" ", "").partition("/")
    if not (months.isdigit() and years.isdigit() and len(years) in (2, 4)):
        return None
    if not 1 <= int(months) <= 12:
        return None
    full_year = int(years) + (2000 if len(years) == 2 else 0)
    return (full_year, int(months)) < (year, month)


def fees_minor(amount_minor: int) -> int:
    """What the gateway keeps of a settlement, in minor units."""
    return _FEE_FIXED_MINOR + amount_minor * _FEE_PER_MILLE // 1000
