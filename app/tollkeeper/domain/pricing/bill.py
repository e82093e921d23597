"""What rating gives back: lines of money, and the bill they make up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from tollkeeper.domain.money import bigint
from tollkeeper.domain.pricing.price import FINE, Number
from tollkeeper.domain.usage import Key

LineKind = Literal["usage", "base_fee", "credit", "late_usage", "adjustment"]


class RatedLine(NamedTuple):
    """One line of money: for usage, one price and tier, how much was used at what, and what that comes to.

    `model` and `meter` are the price's own patterns; `unit_amount` is minor units for one unit, without the flat fee.
    `fine` is the amount before rounding, with the flat fee, in fine units. A line that is not usage has no price, tier or
    quantity. A tuple, because a close makes them by the hundred thousand.
    """

    kind: LineKind
    fine: Number
    amount: int
    description: str
    price: int | None = None
    tier: int | None = None
    model: str | None = None
    meter: str | None = None
    quantity: Decimal | None = None
    unit_amount: Decimal | None = None
    flat_fee: Decimal = Decimal(0)

    @property
    def exact(self) -> Fraction:
        """The amount before rounding, in minor units."""
        return Fraction(self.fine) / FINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a period's totals come to under one tariff, before base fees and credits.

    `usage_amount` is the sum of the rounded usage lines: the spend that a cap is measured against. `included` is how much
    of the allowance each price used, by its index. `unpriced` are the tokens that no price matches, by (model_id, meter).
    """

    lines: tuple[RatedLine, ...]
    usage_amount: int
    included: Mapping[int, int]
    unpriced: tuple[Key, ...]

    @property
    def exact(self) -> Fraction:
        """The unrounded sum of the usage charges."""
        return sum((line.exact for line in self.lines if line.kind == "usage"), Fraction(0))

    @property
    def total(self) -> int:
        """The sum of all lines, adjustments too."""
        return bigint(sum(line.amount for line in self.lines))
