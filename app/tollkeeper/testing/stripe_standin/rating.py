"""What a price makes of a quantity, worked out the way Stripe describes it: a line for each tier, each rounded half up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from tollkeeper.testing.stripe_standin.account import Body


@dataclass(frozen=True, slots=True)
class RatedLine:
    """One line of an invoice: so many units at so much, in minor units."""

    quantity: Decimal
    unit_amount: Decimal
    amount: int
    flat: bool = False


def rate(price: Body, quantity: Decimal) -> Iterator[RatedLine]:
    """The lines of a quantity; a negative one is billed as none."""
    quantity = max(quantity, Decimal(0))
    if price["billing_scheme"] == "per_unit":
        yield _line(_charged(price, quantity), _unit(price))
    elif price["tiers_mode"] == "volume":
        yield from _volume(price, quantity)
    else:
        yield from _graduated(price, quantity)


def _charged(price: Body, quantity: Decimal) -> Decimal:
    """The units charged for: with `transform_quantity` the packages, whole ones up or down."""
    transform = price.get("transform_quantity")
    if transform is None:
        return quantity
    packages, rest = divmod(quantity, Decimal(transform["divide_by"]))
    return packages + (1 if rest and transform["round"] == "up" else 0)


def _graduated(price: Body, quantity: Decimal) -> Iterator[RatedLine]:
    below = Decimal(0)
    for number, tier in enumerate(price["tiers"]):
        top = quantity if tier["up_to"] is None else min(quantity, Decimal(tier["up_to"]))
        if top > below or number == 0:
            yield _line(top - below, _unit(tier))
            yield from _flat(tier)
        below = max(below, top)


def _volume(price: Body, quantity: Decimal) -> Iterator[RatedLine]:
    tier = next(one for one in price["tiers"] if one["up_to"] is None or quantity <= one["up_to"])
    yield _line(quantity, _unit(tier))
    yield from _flat(tier)


def _flat(tier: Body) -> Iterator[RatedLine]:
    fee = tier["flat_amount_decimal"]
    if fee:
        yield RatedLine(Decimal(1), fee, _rounded(fee), flat=True)


def _unit(priced: Body) -> Decimal:
    return Decimal(priced["unit_amount_decimal"] or 0)


def _line(quantity: Decimal, unit_amount: Decimal) -> RatedLine:
    return RatedLine(quantity, unit_amount, _rounded(quantity * unit_amount))


def _rounded(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))
