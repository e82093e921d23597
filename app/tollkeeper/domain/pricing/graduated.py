"""Graduated: each slice of the quantity at its own tier's price; a tier's flat fee once its first unit is used."""

from __future__ import annotations

from collections.abc import Iterator

from tollkeeper.domain.pricing.price import Number, Price, Slice


def walk(price: Price, quantity: Number) -> Iterator[Slice]:
    """One slice for each tier that the quantity reaches; bounds are inclusive."""
    lower = 0
    for index, tier in enumerate(price.tiers):
        if quantity <= lower:
            return
        upper = quantity if tier.up_to is None else min(quantity, tier.up_to)
        yield Slice(index, upper - lower, upper - lower)
        lower = tier.up_to or lower


def dearest(price: Price, position: Number) -> Number:
    """The highest rate of the tiers that are not used up."""
    return price.dearest_from[_first_open(price, position)]


def surcharge(price: Price, position: Number) -> Number:
    """Every flat fee whose tier is not entered yet."""
    if not price.charges_fees:
        return 0
    entered = sum(1 for _ in walk(price, position))
    return sum(price.fees[entered:])


def _first_open(price: Price, position: Number) -> int:
    for index, tier in enumerate(price.tiers):
        if tier.up_to is None or position < tier.up_to:
            return index
    raise AssertionError("the last tier has no end")
