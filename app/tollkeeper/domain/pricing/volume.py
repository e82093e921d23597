"""Volume: all units at the price of the tier that the whole quantity reaches, and that tier's flat fee alone.

The bill can fall by one more unit (a cheaper tier is reached), and it can leap (a dearer one is). A leap has a finite
size that depends on the bound alone, so it can be held like a flat fee: what all units up to the bound cost more from
there on.
"""

from __future__ import annotations

from collections.abc import Iterator

from tollkeeper.domain.pricing.price import Number, Price, Slice


def walk(price: Price, quantity: Number) -> Iterator[Slice]:
    """One slice: the whole quantity in the tier reached; nothing at quantity 0."""
    if quantity > 0:
        yield Slice(reached(price, quantity), quantity, quantity)


def dearest(price: Price, position: Number) -> Number:
    """The highest rate of the tier reached and those after it."""
    return max(price.rates[reached(price, position) :])


def surcharge(price: Price, position: Number) -> Number:
    """The first tier's flat fee where nothing was used yet, and every leap still ahead; falls do not count."""
    first = reached(price, position)
    entry = price.fees[first] if position == 0 else 0
    return entry + sum(max(_leap(price, lower), 0) for lower in range(first, len(price.tiers) - 1))


def reached(price: Price, quantity: Number) -> int:
    """The index of the tier that a quantity falls in; bounds are inclusive."""
    return next(index for index, tier in enumerate(price.tiers) if tier.up_to is None or quantity <= tier.up_to)


def _leap(price: Price, lower: int) -> Number:
    bound = price.tiers[lower].up_to
    assert bound is not None, "only the last tier has no end, and no leap follows it"
    return (price.rates[lower + 1] - price.rates[lower]) * bound + price.fees[lower + 1] - price.fees[lower]
