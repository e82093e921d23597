"""The most that a request can add to the usage charges, known before it runs: what a hold sets aside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import as_number, decimal_of
from tollkeeper.domain.pricing import kinds
from tollkeeper.domain.pricing.allowance import after_allowance
from tollkeeper.domain.pricing.position import Position
from tollkeeper.domain.pricing.price import COST_PLACES, Number
from tollkeeper.domain.pricing.rating import by_price
from tollkeeper.domain.pricing.tariff import Tariff
from tollkeeper.domain.usage import COMPUTE_MINUTES, REQUESTS, TOKEN_TYPES, TokenType, Totals

_OUTPUT_TYPES = (TokenType.OUTPUT.value,)
_INPUT_TYPES = tuple(kind for kind in TOKEN_TYPES if kind not in _OUTPUT_TYPES)


def upper_bound(
    tariff: Tariff,
    model_id: str | None,
    tokens_in: int,
    tokens_out: int,
    *,
    compute_minutes: Decimal | int = 0,
    units: Mapping[str, Decimal | int] | None = None,
    totals: Totals | None = None,
    tokens_used: int | None = None,
    held_tokens: int = 0,
    granted_tokens: int = 0,
) -> Decimal:
    """Minor units that no outcome of the request exceeds, rounded up to `COST_PLACES` decimals.

    All input counts at the dearest of input, cached input and cache write, each quantity at the dearest tier it can
    fall in, with every flat fee that may be entered, and one request. A model of None is the dearest of all prices.
    What has no price adds nothing.

    Without `totals` the bound holds from any position. With the period's totals so far, tiers left behind and flat fees
    already entered drop out.

    Tokens that are still included cost nothing: of the allowance, what neither the totals nor `held_tokens` (what
    others in flight may take first) use up. `tokens_used` stands in for totals that are not at hand; without either
    the allowance counts as used up.

    The bounds of any number of requests in flight add up to a bound for all of them together, for volume prices too:
    where a dearer tier makes the bill leap at its bound, every request holds the leap until it has happened. It is a
    bound on unrounded charges; a line's rounding can add half a step.
    """
    if min(tokens_in, tokens_out, held_tokens, granted_tokens) < 0:
        raise InvalidInput("tokens", "no negative count")
    state = _State.at(tariff, totals or {}, granted_tokens)
    free = _allowance_left(state, totals is not None, tokens_used) - held_tokens
    others = {COMPUTE_MINUTES: as_number(compute_minutes), REQUESTS: 1, **_numbers(units)}
    parts = state.parts(model_id, tokens_in, tokens_out, others)
    return decimal_of(state.most([*_without_free(parts[:2], free), *parts[2:]]), COST_PLACES)


def bound_at(
    position: Position, model_id: str | None, tokens_in: int, tokens_out: int, others: Mapping[str, Number]
) -> int:
    """The same from a customer's position, in fine units, with the allowance as if others in flight took all of it.

    `others` are the quantities of meters that count no tokens; one request is one of them.
    """
    state = _State(position.tariff, position.allowance, position.matched, position.billable())
    return state.most(state.parts(model_id, tokens_in, tokens_out, others))


class _Part(NamedTuple):
    """Some of a request's units, the prices they may fall under, and the highest rate among those."""

    prices: frozenset[int]
    quantity: Number
    rate: Number


class _State(NamedTuple):
    """Where a customer stands in a period: quantities by price, before and after the allowance."""

    tariff: Tariff
    allowance: int
    matched: Mapping[int, Number]
    billable: Mapping[int, Number]

    @classmethod
    def at(cls, tariff: Tariff, totals: Totals, granted_tokens: int) -> _State:
        allowance = tariff.included_tokens + granted_tokens
        matched = by_price(tariff, totals)
        return cls(tariff, allowance, matched, after_allowance(tariff, matched, allowance))

    @property
    def tokens_used(self) -> int:
        return int(self.tokens_before(len(self.tariff.prices)))

    def parts(self, model_id: str | None, tokens_in: int, tokens_out: int, others: Mapping[str, Number]) -> list[_Part]:
        """Input, output, and one for each other meter that something is counted on."""
        reached = self.tariff.prices_of
        tokens = [
            self._part(reached(model_id, _INPUT_TYPES), tokens_in),
            self._part(reached(model_id, _OUTPUT_TYPES), tokens_out),
        ]
        return tokens + [self._part(reached(model_id, (meter,)), n) for meter, n in others.items() if n]

    def most(self, parts: Iterable[_Part]) -> int:
        """Whole fine units, rounded up."""
        cost: Number = 0
        concerned: set[int] = set()
        for prices, quantity, rate in parts:
            if prices and quantity > 0:
                cost += rate * quantity
                concerned.update(prices)
        for index in concerned:
            cost += self._surcharge(index)
        return int(-(-cost // 1))

    def _part(self, prices: frozenset[int], quantity: Number) -> _Part:
        if self.allowance:
            prices |= self._displaced(prices)
        rate: Number = 0
        for index in prices:
            rate = max(rate, kinds.dearest(self.tariff.prices[index], self.billable.get(index, 0)))
        return _Part(prices, quantity, rate)

    def _surcharge(self, index: int) -> Number:
        price = self.tariff.prices[index]
        # A running cost is the difference of two rounded positions, so it can be one fine unit more than the exact one.
        rounding = 0 if price.costs_whole_fine_units else 1
        return kinds.surcharge(price, self.billable.get(index, 0)) + rounding

    def _displaced(self, prices: frozenset[int]) -> frozenset[int]:
        """Later prices whose usage has to be paid for when an earlier one takes the allowance away from it."""
        tokens = [index for index, price in enumerate(self.tariff.prices) if price.counts_tokens]
        first = min(prices.intersection(tokens), default=None)
        if first is None or self.tokens_before(first + 1) >= self.allowance:
            return frozenset()
        return frozenset(index for index in tokens if index > first)

    def tokens_before(self, before: int) -> Number:
        """The tokens matched by prices before an index: what later prices cannot have of the allowance."""
        counts = (n for index, n in self.matched.items() if index < before and self.tariff.prices[index].counts_tokens)
        return sum(counts)


def _allowance_left(state: _State, totals_known: bool, tokens_used: int | None) -> int:
    if totals_known:
        return state.allowance - state.tokens_used
    return 0 if tokens_used is None else state.allowance - tokens_used


def _numbers(units: Mapping[str, Decimal | int] | None) -> dict[str, Number]:
    return {meter: as_number(quantity) for meter, quantity in (units or {}).items()}


def _without_free(parts: list[_Part], free: int) -> Iterator[_Part]:
    """The free tokens come off the cheapest part first, so that what is left is a bound."""
    left: Number = max(free, 0)
    if not left:
        yield from parts
        return
    for part in sorted(parts, key=lambda part: part.rate):
        taken = min(left, part.quantity) if part.prices else 0
        left -= taken
        yield _Part(part.prices, part.quantity - taken, part.rate)
