"""The allowance: tokens that come off the quantities before the tiers are walked."""

from __future__ import annotations

from collections.abc import Mapping

from tollkeeper.domain.pricing.price import Number
from tollkeeper.domain.pricing.tariff import Tariff


def after_allowance(tariff: Tariff, matched: Mapping[int, Number], allowance: int) -> dict[int, Number]:
    """Quantities by index of their price, less the allowance: prices in the order of the file, tokens alone.

    Inside one price all its token types are one quantity. Where a split by type is wanted, input comes off before
    cached input, cache writes and output.
    """
    if not allowance:
        return dict(matched)
    left: Number = allowance
    billable: dict[int, Number] = {}
    for index in sorted(matched):
        taken = min(left, matched[index]) if tariff.prices[index].counts_tokens else 0
        billable[index] = matched[index] - taken
        left -= taken
    return billable
