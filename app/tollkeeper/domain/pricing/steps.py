"""The order in which usage becomes money, and the reason for each place in it.

Every step takes a `Draft` and gives back the next one. Discount, maximum and minimum each make at most one line of
their own, so the usage lines stay what quantity times price says, and the spend that a cap is measured against is
their sum.

After these steps come base fees, and last of all **credit**: prepaid money pays what is owed. It is payment, so it
changes who still has to pay and never what was charged; and it pays for base fees too, so it is drawn down once over
the whole invoice (`tollkeeper.domain.credit`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from tollkeeper.domain.currency import display, minor_step
from tollkeeper.domain.money import as_decimal, bigint, round_half_away
from tollkeeper.domain.pricing import describing, kinds
from tollkeeper.domain.pricing.allowance import after_allowance
from tollkeeper.domain.pricing.bill import RatedLine
from tollkeeper.domain.pricing.price import FINE, Number, Price, Slice, rounded
from tollkeeper.domain.pricing.tariff import Tariff


@dataclass(frozen=True, slots=True)
class Draft:
    """A bill in the making: quantities by index of their price, and the lines so far."""

    tariff: Tariff
    allowance: int
    quantities: dict[int, Number]
    lines: tuple[RatedLine, ...] = ()

    @property
    def charged(self) -> int:
        """What the lines so far add up to."""
        return bigint(sum(line.amount for line in self.lines))


@dataclass(frozen=True, slots=True)
class Step:
    """One step and why it stands where it stands."""

    name: str
    apply: Callable[[Draft], Draft]
    reason: str


def take_included(draft: Draft) -> Draft:
    """The allowance comes off token quantities."""
    return replace(draft, quantities=after_allowance(draft.tariff, draft.quantities, draft.allowance))


def price_usage(draft: Draft) -> Draft:
    """A line for each price and tier that something was used in, each rounded once."""
    return replace(draft, lines=tuple(_usage_lines(draft)))


def discount(draft: Draft) -> Draft:
    """The percentage off the usage charges."""
    percent = draft.tariff.discount_percent
    if not percent:
        return draft
    off = -Fraction(percent) * draft.charged / 100
    return _adjusted(draft, off, f"Discount of {percent:f} %")


def cap_at_maximum(draft: Draft) -> Draft:
    """Down to the most that usage may cost."""
    most = draft.tariff.maximum
    if most is None or draft.charged <= most:
        return draft
    return _adjusted(
        draft, Fraction(most - draft.charged), f"Usage costs at most {display(most, draft.tariff.currency)}"
    )


def lift_to_minimum(draft: Draft) -> Draft:
    """Up to the least that usage must cost."""
    least = draft.tariff.minimum
    if draft.charged >= least:
        return draft
    return _adjusted(
        draft, Fraction(least - draft.charged), f"Minimum charge of {display(least, draft.tariff.currency)}"
    )


STEPS: tuple[Step, ...] = (
    Step("included", take_included, "the base fee has paid for these tokens, so they must not move anyone up a tier"),
    Step("price", price_usage, "what is left is walked through the tiers; a spend cap is measured on these lines"),
    Step("discount", discount, "before the bounds, because they bound what is really charged"),
    Step("maximum", cap_at_maximum, "a promise to the customer about what is left after the discount"),
    Step("minimum", lift_to_minimum, "a promise by the customer; last, so that no discount eats it up"),
)


def _usage_lines(draft: Draft) -> Iterator[RatedLine]:
    for index, quantity in sorted(draft.quantities.items()):
        price = draft.tariff.prices[index]
        for piece in kinds.slices(price, quantity):
            yield _usage_line(draft.tariff.currency, index, price, piece)


def _usage_line(currency: str, index: int, price: Price, piece: Slice) -> RatedLine:
    quantity = as_decimal(piece.quantity)
    tier = piece.tier
    charge = price.charge(piece)
    return RatedLine(
        kind="usage",
        fine=charge,
        amount=bigint(rounded(charge, minor_step(currency))),
        description=describing.usage(price, tier, quantity, currency),
        price=index,
        tier=tier,
        model=price.model,
        meter=price.meter,
        quantity=quantity,
        unit_amount=price.unit_amounts[tier],
        flat_fee=price.tiers[tier].flat_fee,
    )


def _adjusted(draft: Draft, exact: Fraction, description: str) -> Draft:
    amount = round_half_away(exact, minor_step(draft.tariff.currency))
    if amount == 0:
        return draft
    line = RatedLine(kind="adjustment", fine=exact * FINE, amount=bigint(amount), description=description)
    return replace(draft, lines=(*draft.lines, line))
