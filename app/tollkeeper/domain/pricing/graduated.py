"""Graduated: each slice of the quantity at its own tier's price; a tier's flat fee once its first unit is used."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from tollkeeper.domain.pricing.price import Price, Slice


def walk(price: Price, quantity: Fraction | int) -> Iterator[Slice]:
    """One slice for each tier that the quantity reaches; bounds are inclusive."""
    lower = 0
    for index, tier in enumerate(price.tiers):
        if quantity <= lower:
            return
        upper = quantity if tier.up_to is None else min(quantity, tier.up_to)
        yield Slice(index, upper - lower, price.charge(index, upper - lower))
        lower = tier.up_to or lower


def dearest(price: Price, position: Fraction | int) -> Fraction:
    """The highest rate of the tiers that are not used up."""
    return max(price.rates[_first_open(price, position) :])


def surcharge(price: Price, position: Fraction | int) -> Fraction:
    """Every flat fee whose tier is not entered yet."""
    entered = sum(1 for _ in walk(price, position))
    return sum(price.fees[entered:], Fraction(0))


def _first_open(price: Price, position: Fraction | int) -> int:
    return next(index for index, tier in enumerate(price.tiers) if tier.up_to is None or position < tier.up_to)
