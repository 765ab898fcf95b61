"""Numbers written the one way that JSON's canonical form has (RFC 8785, as ECMAScript writes)."""

from decimal import Decimal


def canonical_number(value: float) -> str:
    """``value`` as RFC 8785 writes it: 4.0 is 4, 1e-06 is 0.000001; ValueError for no number."""
    if value == 0:
        return "0"  # also for -0.0
    # repr gives the shortest digits that mean this number; only where the point goes differs.
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is no JSON number")
    return ("-" if sign else "") + _placed("".join(map(str, digits)), len(digits) + exponent)


def _placed(digits: str, point: int) -> str:
    """``0.digits`` times ten to the power of ``point``."""
    if len(digits) <= point <= 21:
        return digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"
