"""Splitting: an invoice's total between vendors and the platform, in shares that add up to it exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import exact


@dataclass(frozen=True, slots=True)
class Vendor:
    """Somebody who gets a part of every invoice: their account at the collector, and how many percent."""

    account: str
    percent: Decimal


@dataclass(frozen=True, slots=True)
class Share:
    """What one vendor gets of one invoice, in minor units."""

    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class Split:
    """Who gets what of a plan's invoices. The platform has the fee (minor units) first, and what the vendors leave."""

    vendors: tuple[Vendor, ...]
    fee: int = 0

    def __post_init__(self) -> None:
        if not self.vendors:
            raise InvalidInput("vendors", "at least one")
        if sum(vendor.percent for vendor in self.vendors) > 100:
            raise InvalidInput("vendors", "percentages that add up to 100 at most")

    def shares(self, total: int, step: int = 1) -> tuple[Share, ...]:
        """What each vendor gets of a total, in multiples of `step`; what is left of it is the platform's."""
        ours = 100 - sum(vendor.percent for vendor in self.vendors)
        left = total - min(self.fee, total)
        parts = largest_remainder(left, [*(vendor.percent for vendor in self.vendors), ours], step)
        return tuple(Share(vendor.account, part) for vendor, part in zip(self.vendors, parts, strict=False))

    def __str__(self) -> str:
        parts = [f"{vendor.percent:f} % to {vendor.account}" for vendor in self.vendors]
        return ", ".join([*parts, f"after a fee of {self.fee}"] if self.fee else parts)

    def to_json(self) -> dict[str, Any]:
        vendors = [{"account": vendor.account, "percent": f"{vendor.percent:f}"} for vendor in self.vendors]
        return {"vendors": vendors, "fee": self.fee}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Split:
        vendors = (Vendor(one["account"], Decimal(one["percent"])) for one in stored["vendors"])
        return cls(tuple(vendors), int(stored["fee"]))


def largest_remainder(total: int, weights: Sequence[Decimal | int], step: int = 1) -> tuple[int, ...]:
    """Whole parts of a total in proportion to weights, adding up to it exactly.

    Each part is rounded down to a multiple of `step`; the steps left over go to those that lost most by it, the earlier one
    where two lost the same. What of the total is less than a step goes to the last.
    """
    wanted = [exact(weight) for weight in weights]
    if total < 0 or any(weight < 0 for weight in wanted) or not sum(wanted):
        raise InvalidInput("split", "a total and weights that are not negative, and not all of them nothing")
    steps, rest = divmod(total, step)
    ideal = [Fraction(steps) * weight / sum(wanted) for weight in wanted]
    parts = [int(one) for one in ideal]
    by_loss = sorted(range(len(parts)), key=lambda index: (parts[index] - ideal[index], index))
    for index in by_loss[: steps - sum(parts)]:
        parts[index] += 1
    amounts = [part * step for part in parts]
    amounts[-1] += rest
    return tuple(amounts)
