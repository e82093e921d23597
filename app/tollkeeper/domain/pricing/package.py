"""Package: whole packages of `per` units, rounded up on the period's total and not per request."""

from __future__ import annotations

from collections.abc import Iterator

from tollkeeper.domain.pricing.price import Number, Price, Slice


def walk(price: Price, quantity: Number) -> Iterator[Slice]:
    """The quantity as it is, charged as the packages it begins."""
    if quantity > 0:
        yield Slice(0, quantity, packages(price, quantity) * price.per)


def dearest(price: Price, position: Number) -> Number:
    """The rate inside a full package."""
    return price.rates[0]


def surcharge(price: Price, position: Number) -> Number:
    """The empty part of the last package, at most all but one unit; the flat fee where nothing was used yet."""
    empty = price.per - 1 if price.counts_whole_units else price.per
    return price.rates[0] * empty + (price.fees[0] if position == 0 else 0)


def packages(price: Price, quantity: Number) -> int:
    """How many packages the quantity begins."""
    return int(-(-quantity // price.per))
