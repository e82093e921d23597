"""Margins: what a model's tokens are sold for, beside what they cost whoever sells them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction

from tollkeeper.domain.money import as_decimal, exact
from tollkeeper.domain.pricing import Price, Tariff, rate
from tollkeeper.domain.usage import Key, Totals

MILLION = 1_000_000


def sold_at(tariff: Tariff, price: Price) -> Decimal:
    """The lowest that a million units are sold for, discount taken off, in minor units.

    A tier at no charge in front of paid ones is a gift that the plan makes openly, so it does not count; where every tier
    is at no charge, that is the price. Flat fees are left out, because how many units share one is not known beforehand.
    """
    paid = [tier.price for tier in price.tiers if tier.price] or [Decimal(0)]
    left = 1 - Fraction(tariff.discount_percent) / 100
    return as_decimal(Fraction(min(paid)) * MILLION / price.per * left)


def margin_percent(sold: Decimal, cost: Decimal) -> Decimal | None:
    """How much of the price is left after the cost, to a tenth of a percent; None for what is given away."""
    return as_decimal((exact(sold) - exact(cost)) * 100 / exact(sold), 1) if sold else None


def shared_out(tariff: Tariff, totals: Totals, amount: int | None = None) -> dict[Key, Fraction]:
    """What each model's quantity on a meter was charged, in minor units.

    What a price came to is shared out among the models it matches, by their quantities: tiers count them together. With
    `amount` all of it is scaled to that sum, for totals of many customers, who each walked the tiers by themselves.
    """
    charged: dict[int, int] = defaultdict(int)
    for line in rate(tariff, totals).lines:
        if line.price is not None:
            charged[line.price] += line.amount
    matched = {key: tariff.price_of(key) for key, quantity in totals.items() if quantity}
    whole: dict[int, Fraction] = defaultdict(Fraction)
    for key, index in matched.items():
        if index is not None:
            whole[index] += exact(totals[key])
    shares = {
        key: Fraction(0) if index is None else charged[index] * exact(totals[key]) / whole[index]
        for key, index in matched.items()
    }
    summed = sum(shares.values(), Fraction(0))
    if amount is None or not summed:
        return shares
    return {key: share * amount / summed for key, share in shares.items()}


def sharing_a_meter(prices: Sequence[Price]) -> Iterator[tuple[str, list[int]]]:
    """Meters at Stripe with more than one price on them that Stripe would have to price apart.

    Stripe sees one quantity for each meter. Prices that ask the same for every unit may share it; tiers and packages may
    not, because each counts a quantity of its own.
    """
    by_meter: defaultdict[str, list[int]] = defaultdict(list)
    for index, price in enumerate(prices):
        by_meter[price.event_name].append(index)
    for meter, indices in by_meter.items():
        rates = {prices[index].rates for index in indices}
        if len(indices) > 1 and (len(rates) > 1 or any(prices[index].kind != "per_unit" for index in indices)):
            yield meter, indices
