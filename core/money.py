"""Money as whole minor units (cents) and a currency; never a float."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True, order=True, slots=True)
class Money:
    """An amount in minor units: ``Money(6000)`` is EUR 60.00."""

    minor: int
    currency: str = "EUR"

    @classmethod
    def of(cls, major: Decimal | int | str, currency: str = "EUR") -> "Money":
        """From major units (euros), rounded half up to the cent."""
        cents = (Decimal(major) * 100).quantize(Decimal(1), rounding=ROUND_HALF_UP)
        return cls(int(cents), currency)

    def __add__(self, other: "Money") -> "Money":
        self._same_currency(other)
        return Money(self.minor + other.minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._same_currency(other)
        return Money(self.minor - other.minor, self.currency)

    def percent(self, percent: Decimal | int) -> "Money":
        """``percent`` of this amount, rounded half up to the cent."""
        cents = (Decimal(self.minor) * Decimal(percent) / 100).quantize(
            Decimal(1), rounding=ROUND_HALF_UP
        )
        return Money(int(cents), self.currency)

    @property
    def major(self) -> Decimal:
        """The amount in major units with two decimals."""
        return (Decimal(self.minor) / 100).quantize(Decimal("0.01"))

    def __str__(self) -> str:
        return f"{self.currency} {self.major}"

    def _same_currency(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise ValueError(f"cannot add {self.currency} and {other.currency}")
