"""Per unit: every unit costs the same, from the first to the last."""

from __future__ import annotations

from collections.abc import Iterator

from tollkeeper.domain.pricing.price import Number, Price, Slice


def walk(price: Price, quantity: Number) -> Iterator[Slice]:
    """The whole quantity in the one tier; nothing at quantity 0."""
    if quantity > 0:
        yield Slice(0, quantity, quantity)


def dearest(price: Price, position: Number) -> Number:
    """The one rate there is."""
    return price.rates[0]


def surcharge(price: Price, position: Number) -> Number:
    """The flat fee, where nothing was used yet."""
    return price.fees[0] if position == 0 else 0
