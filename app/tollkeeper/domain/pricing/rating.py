"""Rating: from a tariff and a period's totals to lines of money. Pure, exact, and rounded once a line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from tollkeeper.domain.currency import minor_step
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import as_number, bigint, decimal_of, round_half_away
from tollkeeper.domain.pricing import kinds
from tollkeeper.domain.pricing.allowance import after_allowance
from tollkeeper.domain.pricing.bill import Bill
from tollkeeper.domain.pricing.price import COST_PLACES, Number, rounded
from tollkeeper.domain.pricing.steps import STEPS, Draft
from tollkeeper.domain.pricing.tariff import Tariff
from tollkeeper.domain.usage import TOKEN_TYPES, Key, Totals


def price_for(tariff: Tariff, model_id: str, meter: str) -> int | None:
    """The index of the price that a model's quantity on a meter belongs to, or None."""
    return tariff.price_of((model_id, meter))


def rate(tariff: Tariff, totals: Totals, *, granted_tokens: int = 0) -> Bill:
    """The bill for a period's totals. `granted_tokens` extend the plan's allowance and are used after it."""
    matched = by_price(tariff, totals)
    draft = Draft(tariff, tariff.included_tokens + granted_tokens, matched)
    for step in STEPS:
        draft = step.apply(draft)
    return Bill(
        lines=draft.lines,
        usage_amount=sum(line.amount for line in draft.lines if line.kind == "usage"),
        included={i: int(taken) for i, left in draft.quantities.items() if (taken := matched[i] - left)},
        unpriced=tuple(unpriced(tariff, totals)),
    )


def usage_amount(tariff: Tariff, totals: Totals, *, granted_tokens: int = 0) -> int:
    """`rate(…).usage_amount` without the lines: the spend that a cap is measured against, quick enough to ask often."""
    step = minor_step(tariff.currency)
    billable = after_allowance(tariff, by_price(tariff, totals), tariff.included_tokens + granted_tokens)
    prices = ((tariff.prices[index], quantity) for index, quantity in billable.items())
    return bigint(sum(rounded(price.charge(s), step) for price, count in prices for s in kinds.slices(price, count)))


def running_cost(tariff: Tariff, totals_before: Totals, added: Totals, *, granted_tokens: int = 0) -> Decimal:
    """What `added` adds to the usage charges at this position in the tiers: minor units, unrounded.

    The cost of each price is cut to `COST_PLACES` decimals before the two positions are subtracted. So however events
    are ordered and grouped, their costs add up to the same sum; and where unit prices have a finite decimal form that
    fits, that sum is the unrounded bill itself. Negative where a volume price falls.
    """
    before = by_price(tariff, totals_before)
    after = dict(before)
    for index, quantity in by_price(tariff, added).items():
        after[index] = after.get(index, 0) + quantity
    allowance = tariff.included_tokens + granted_tokens
    was, now = after_allowance(tariff, before, allowance), after_allowance(tariff, after, allowance)
    changed = [index for index in now if now[index] != was.get(index, 0)]
    added_cost = sum(_cost(tariff, index, now[index]) - _cost(tariff, index, was.get(index, 0)) for index in changed)
    return decimal_of(added_cost, COST_PLACES)


def by_price(tariff: Tariff, totals: Totals) -> dict[int, Number]:
    """The totals added up by index of their price; what has no price is left out."""
    sums: defaultdict[int, Number] = defaultdict(int)
    for key, quantity in totals.items():
        number = quantity if type(quantity) is int else as_number(quantity)
        if number < 0:
            raise InvalidInput("quantity", "no negative total")
        index = tariff.price_of(key)
        if index is not None:
            sums[index] += number
    return dict(sums)


def unpriced(tariff: Tariff, totals: Totals) -> Iterator[Key]:
    """Tokens that no price matches. Other meters are charged for where they have a price, and only there."""
    return (key for key, count in totals.items() if count and key[1] in TOKEN_TYPES and tariff.price_of(key) is None)


def whole_fine(cost: Number) -> int:
    """Whole fine units; there is something to round only where a price has no finite decimal form that fits."""
    return cost if isinstance(cost, int) else round_half_away(cost)


def _cost(tariff: Tariff, index: int, quantity: Number) -> int:
    return whole_fine(kinds.cost(tariff.prices[index], quantity))
