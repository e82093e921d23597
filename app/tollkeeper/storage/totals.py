"""A period's totals as they are kept in `usage_periods.totals`: `{model_id: {meter: quantity}}`.

Whole numbers are JSON numbers, fractions and what passes 64 bits are strings, so that every reader gets them exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tollkeeper.domain.money import BIGINT_MAX
from tollkeeper.domain.usage import Key, Totals


class Sums(dict[Key, Decimal | int]):
    """Totals that can be added to."""

    def add(self, quantities: Totals) -> None:
        """Add the quantities of one event."""
        for key, quantity in quantities.items():
            self[key] = self.get(key, 0) + quantity

    def take(self, quantities: Totals) -> None:
        """Take the quantities of one event off; what comes to nothing is left out, as if it had never been there."""
        for key, quantity in quantities.items():
            self[key] = self.get(key, 0) - quantity
            if not self[key]:
                del self[key]


def totals_from_json(value: Mapping[str, Mapping[str, Any]]) -> Sums:
    """The totals that `totals_to_json` wrote."""
    return Sums(
        ((model, meter), Decimal(quantity) if isinstance(quantity, str) else quantity)
        for model, meters in value.items()
        for meter, quantity in meters.items()
    )


def totals_to_json(totals: Totals) -> dict[str, dict[str, int | str]]:
    """Plain JSON for `usage_periods.totals`."""
    nested: dict[str, dict[str, int | str]] = {}
    for (model, meter), quantity in totals.items():
        plain = quantity == int(quantity) and quantity <= BIGINT_MAX
        nested.setdefault(model, {})[meter] = int(quantity) if plain else f"{Decimal(quantity):f}"
    return nested
