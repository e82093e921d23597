"""A tariff: the part of a plan that decides what usage costs. It is what a plan's versions keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, TypeVar

from tollkeeper.domain.currency import exponent
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import BIGINT_MAX
from tollkeeper.domain.period import INTERVALS
from tollkeeper.domain.pricing.matching import best_match, covers
from tollkeeper.domain.pricing.price import Price, written
from tollkeeper.domain.usage import REQUESTS, Key

_MEMO_LIMIT = 4096

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Tariff:
    """Prices, fees and allowances for one period, money in minor units of the currency.

    `minimum` and `maximum` bound the usage charges after the discount; `trial_days` count from the customer's start.
    """

    currency: str
    interval: str = "month"
    base_fee: int = 0
    included_tokens: int = 0
    minimum: int = 0
    maximum: int | None = None
    discount_percent: Decimal = Decimal(0)
    trial_days: int = 0
    prices: tuple[Price, ...] = ()
    _memo: dict[Key, int | None] = field(default_factory=dict, init=False, repr=False, compare=False)
    _reached: dict[tuple[str | None, tuple[str, ...]], frozenset[int]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    _uncounted: dict[str | None, dict[str, int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        exponent(self.currency)
        if self.interval not in INTERVALS:
            raise InvalidInput("interval", f"one of {', '.join(INTERVALS)}")
        for name in ("base_fee", "included_tokens", "minimum", "maximum", "trial_days"):
            value = getattr(self, name)
            if (value is not None or name != "maximum") and (type(value) is not int or not 0 <= value <= BIGINT_MAX):
                raise InvalidInput(name, "a whole number from 0 to 2^63 - 1")
        if not isinstance(self.discount_percent, Decimal) or not 0 <= self.discount_percent <= 100:
            raise InvalidInput("discount_percent", "a Decimal from 0 to 100")
        if self.maximum is not None and self.maximum < self.minimum:
            raise InvalidInput("maximum", "at least the minimum")

    @property
    def charges(self) -> bool:
        """Whether anything can ever be owed by it."""
        prices = any(tier.price or tier.flat_fee for price in self.prices for tier in price.tiers)
        return bool(self.base_fee or self.minimum or prices)

    def price_of(self, key: Key) -> int | None:
        """The index of the price for (model_id, meter); remembered, since the same few models come again and again."""
        try:
            return self._memo[key]
        except KeyError:
            found = best_match(self.prices, *key)
            _remember(self._memo, key, found)
            return found

    def prices_of(self, model_id: str | None, meters: tuple[str, ...]) -> frozenset[int]:
        """The indices of all prices that a model's quantities on some meters may fall under; of any model for None."""
        key = (model_id, meters)
        found = self._reached.get(key)
        if found is None:
            found = frozenset(self._reach(model_id, meters))
            _remember(self._reached, key, found)
        return found

    def uncounted(self, model_id: str | None) -> Mapping[str, int]:
        """One request, and one of each meter with a price for this model whose quantity nobody knows before the route has run."""
        found = self._uncounted.get(model_id)
        if found is None:
            meters = {price.meter for price in self.prices if not price.counts_tokens} - {REQUESTS}
            found = {REQUESTS: 1} | {meter: 1 for meter in sorted(meters) if self.prices_of(model_id, (meter,))}
            _remember(self._uncounted, model_id, found)
        return found

    def _reach(self, model_id: str | None, meters: tuple[str, ...]) -> Iterator[int]:
        for meter in meters:
            if model_id is None:
                yield from (index for index, price in enumerate(self.prices) if covers(price, meter))
            elif (index := self.price_of((model_id, meter))) is not None:
                yield index

    @cached_property
    def has_free_tokens(self) -> bool:
        """Whether any tokens are ever free, so that a customer's position decides what a request can cost."""
        return self.included_tokens > 0 or any(price.begins_free for price in self.prices if price.counts_tokens)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, decimals as strings; `from_json` gives back an equal tariff."""
        return {
            "currency": self.currency,
            "interval": self.interval,
            "base_fee": self.base_fee,
            "included_tokens": self.included_tokens,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "discount_percent": f"{self.discount_percent:f}",
            "trial_days": self.trial_days,
            "prices": [price.to_json() for price in self.prices],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Tariff:
        """The tariff that `to_json` wrote; anything else is refused with `InvalidInput`."""
        try:
            prices = tuple(Price.from_json(price) for price in value["prices"])
            return cls(**{**value, "discount_percent": written(value["discount_percent"]), "prices": prices})
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise InvalidInput("tariff", "the JSON form of a tariff") from error


def _remember(memo: dict[K, V], key: K, value: V) -> None:
    """Model names come from outside: a memo never grows without bound."""
    if len(memo) >= _MEMO_LIMIT:
        memo.clear()
    memo[key] = value
