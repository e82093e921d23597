"""How long usage stays free: within the allowance, or in a first tier that costs nothing."""

from __future__ import annotations

from tollkeeper.domain.money import BIGINT_MAX
from tollkeeper.domain.pricing.matching import covers
from tollkeeper.domain.pricing.position import Position
from tollkeeper.domain.pricing.price import Number, Price
from tollkeeper.domain.pricing.tariff import Tariff
from tollkeeper.domain.usage import TOKEN_TYPES


def free_tokens(tariff: Tariff, model_id: str | None, position: Position) -> int:
    """How many more tokens, of whatever model, can be used before a request to this model costs anything.

    0 where it costs at once, also because a request or another unit of it has a price. A model of None is any model.
    Never too many: where the allowance ends in the middle of a request, a free tier behind it is not looked at.
    """
    matching = _matching(tariff, model_id)
    if any(not price.counts_tokens and not _free(price) for _, price in matching):
        return 0
    matched = position.matched
    left = position.allowance - sum(count for index, count in matched.items() if tariff.prices[index].counts_tokens)
    if left > 0:
        return int(left)
    positions = position.billable()
    rooms = [_room(price, positions.get(index, 0)) for index, price in matching if price.counts_tokens]
    return min(rooms, default=BIGINT_MAX)


def _matching(tariff: Tariff, model_id: str | None) -> list[tuple[int, Price]]:
    if model_id is None:
        return list(enumerate(tariff.prices))
    tokens = {tariff.price_of((model_id, kind)) for kind in TOKEN_TYPES}
    others = {tariff.price_of((model_id, p.meter)) for p in tariff.prices if not any(covers(p, t) for t in TOKEN_TYPES)}
    return [(index, tariff.prices[index]) for index in tokens | others if index is not None]


def _room(price: Price, position: Number) -> int:
    """How many more units stay in the tiers at the beginning that cost nothing."""
    end = 0
    for number, tier in enumerate(price.tiers):
        if not _free_tier(price, number):
            break
        if tier.up_to is None:
            return BIGINT_MAX
        end = tier.up_to
    return max(0, int(end - position))


def _free_tier(price: Price, number: int) -> bool:
    return price.rates[number] == 0 and price.fees[number] == 0


def _free(price: Price) -> bool:
    return all(_free_tier(price, number) for number in range(len(price.tiers)))
