"""The shelf of price kinds: adding one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from tollkeeper.domain.pricing import graduated, package, per_unit, volume
from tollkeeper.domain.pricing.price import Kind, Price, Slice

Quantity: TypeAlias = Fraction | int


@dataclass(frozen=True, slots=True)
class Pricing:
    """What a kind of price answers.

    `walk`: the slices of a quantity. `dearest` and `surcharge`: n more units, in however many requests, from a
    position or anywhere after it, add at most n times the one and once the other.
    """

    walk: Callable[[Price, Quantity], Iterator[Slice]]
    dearest: Callable[[Price, Quantity], Fraction]
    surcharge: Callable[[Price, Quantity], Fraction]


KINDS: dict[Kind, Pricing] = {
    "per_unit": Pricing(per_unit.walk, per_unit.dearest, per_unit.surcharge),
    "package": Pricing(package.walk, package.dearest, package.surcharge),
    "graduated": Pricing(graduated.walk, graduated.dearest, graduated.surcharge),
    "volume": Pricing(volume.walk, volume.dearest, volume.surcharge),
}


def slices(price: Price, quantity: Quantity) -> Iterator[Slice]:
    """The quantity by tier, with what each slice costs."""
    return KINDS[price.kind].walk(price, quantity)


def cost(price: Price, quantity: Quantity) -> Fraction:
    """What the quantity costs, unrounded, in minor units."""
    return sum((piece.exact for piece in slices(price, quantity)), Fraction(0))


def dearest(price: Price, position: Quantity) -> Fraction:
    """The most that one more unit can cost, from the position on, surcharges aside."""
    return KINDS[price.kind].dearest(price, position)


def surcharge(price: Price, position: Quantity) -> Fraction:
    """What can still come on top of the units, once each: flat fees, leaps, the empty part of a package."""
    return KINDS[price.kind].surcharge(price, position)
