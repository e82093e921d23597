"""A position: what one customer used of each price in a period, with what that costs, kept up while usage is added.

`rate` starts from the totals and makes a bill; a position makes the same figures by what changed alone, because the request
path asks after every event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from tollkeeper.domain.currency import minor_step
from tollkeeper.domain.money import as_number, bigint
from tollkeeper.domain.pricing import kinds
from tollkeeper.domain.pricing.allowance import after_allowance
from tollkeeper.domain.pricing.price import Number, Price, rounded
from tollkeeper.domain.pricing.rating import by_price, whole_fine
from tollkeeper.domain.pricing.tariff import Tariff
from tollkeeper.domain.usage import TOKEN_TYPES, Totals

_UNUSED = (0, 0, 0)


class Position:
    """Grows with `add`; take a `copy` of one that others still read."""

    __slots__ = ("_priced", "_step", "allowance", "matched", "tariff")

    def __init__(self, tariff: Tariff, totals: Totals, *, granted_tokens: int = 0) -> None:
        self.tariff = tariff
        self.allowance = tariff.included_tokens + granted_tokens
        self.matched: dict[int, Number] = by_price(tariff, totals)
        """Quantities by index of their price, before the allowance."""
        self._step = minor_step(tariff.currency)
        self._priced: dict[int, tuple[Number, int, int]] = {}
        """By index of the price: the quantity after the allowance, its cost in fine units, and its lines in minor units."""
        self._reprice(self.billable())

    def copy(self) -> Self:
        """The same position, free to grow."""
        twin = object.__new__(type(self))
        twin.tariff, twin.allowance, twin._step = self.tariff, self.allowance, self._step
        twin.matched, twin._priced = self.matched.copy(), self._priced.copy()
        return twin

    def billable(self) -> dict[int, Number]:
        """Quantities by index of their price, after the allowance."""
        return after_allowance(self.tariff, self.matched, self.allowance) if self.allowance else self.matched

    @property
    def spent(self) -> int:
        """The usage lines of a bill drawn up now: minor units, each line rounded. `AmountTooLarge` past 64 bits."""
        return bigint(sum([amount for _, _, amount in self._priced.values()]))

    def add(self, added: Totals) -> tuple[int, bool]:
        """Add one event's quantities: the fine units that they cost at this position, and whether tokens have no price.

        Costs of events add up to the cost of the totals, as with `running_cost`.
        """
        changed: dict[int, Number] = {}
        unpriced = False
        for key, quantity in added.items():
            index = self.tariff.price_of(key)
            if index is not None:
                self.matched[index] = changed[index] = self.matched.get(index, 0) + as_number(quantity)
            elif quantity and key[1] in TOKEN_TYPES:
                unpriced = True
        return self._reprice(self.billable() if self.allowance else changed), unpriced

    def _reprice(self, billable: Mapping[int, Number]) -> int:
        """Price what differs, and say by how many fine units the cost grew."""
        grown = 0
        for index, quantity in billable.items():
            before, cost_before, _ = self._priced.get(index, _UNUSED)
            if quantity != before:
                cost, amount = _cost_and_lines(self.tariff.prices[index], quantity, self._step)
                self._priced[index] = (quantity, cost, amount)
                grown += cost - cost_before
        return grown


def _cost_and_lines(price: Price, quantity: Number, step: int) -> tuple[int, int]:
    cost: Number = 0
    lines = 0
    for piece in kinds.slices(price, quantity):
        charge = price.charge(piece)
        cost += charge
        lines += rounded(charge, step)
    return whole_fine(cost), lines
