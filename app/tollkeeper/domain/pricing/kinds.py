"""The shelf of price kinds: adding one is a file and a line here. Money is in fine units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tollkeeper.domain.pricing import graduated, package, per_unit, volume
from tollkeeper.domain.pricing.price import Kind, Number, Price, Slice


@dataclass(frozen=True, slots=True)
class Pricing:
    """What a kind of price answers.

    `walk`: the slices of a quantity. `dearest` and `surcharge`: n more units, in however many requests, from a position
    or anywhere after it, add at most n times the one and once the other.
    """

    walk: Callable[[Price, Number], Iterator[Slice]]
    dearest: Callable[[Price, Number], Number]
    surcharge: Callable[[Price, Number], Number]


KINDS: dict[Kind, Pricing] = {
    "per_unit": Pricing(per_unit.walk, per_unit.dearest, per_unit.surcharge),
    "package": Pricing(package.walk, package.dearest, package.surcharge),
    "graduated": Pricing(graduated.walk, graduated.dearest, graduated.surcharge),
    "volume": Pricing(volume.walk, volume.dearest, volume.surcharge),
}


def slices(price: Price, quantity: Number) -> Iterator[Slice]:
    """The quantity by tier."""
    return KINDS[price.kind].walk(price, quantity)


def cost(price: Price, quantity: Number) -> Number:
    """What the quantity costs, unrounded."""
    return sum(map(price.charge, slices(price, quantity)))


def dearest(price: Price, position: Number) -> Number:
    """The most that one more unit can cost, from the position on, surcharges aside."""
    return KINDS[price.kind].dearest(price, position)


def surcharge(price: Price, position: Number) -> Number:
    """What can still come on top of the units, once each: flat fees, leaps, the empty part of a package."""
    return KINDS[price.kind].surcharge(price, position)
