"""The spend cap: money at which requests are refused."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction


def fits(spent: Decimal | int, held: Decimal | int, bound: Decimal | int, cap: int | None) -> bool:
    """Whether a request that adds at most `bound` minor units keeps within the cap; it may reach it."""
    return cap is None or Fraction(spent) + Fraction(held) + Fraction(bound) <= cap
