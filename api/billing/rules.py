"""Value added tax and the texts of invoices: pure (DOMAIN 14)."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from types import MappingProxyType

VAT_PERCENT: Mapping[str, Decimal] = MappingProxyType(
    {"ES": Decimal(21), "FR": Decimal(20), "DE": Decimal(19)}
)
# A country without a rate of ours is invoiced as the seller's own.
_SELLER = "ES"


@dataclass(frozen=True, slots=True)
class VatSplit:
    """An amount in minor units, tax included, as its two parts."""

    net_minor: int
    vat_minor: int
    percent: Decimal


def split_vat(total_minor: int, country: str) -> VatSplit:
    """Prices include VAT (DOMAIN 4): net is rounded half up, the tax is the rest."""
    percent = VAT_PERCENT.get(country.upper(), VAT_PERCENT[_SELLER])
    net = (Decimal(total_minor) * 100 / (100 + percent)).quantize(
        Decimal(1), rounding=ROUND_HALF_UP
    )
    return VatSplit(int(net), total_minor - int(net), percent)


def invoice_number(series: str, number: int) -> str:
    """INV-2026-000001: gapless within its series."""
    return f"{series}-{number:06d}"
