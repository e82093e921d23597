"""Terms of a customer's own, in place of what their plan says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.pricing import Price, Tariff
from tollkeeper.domain.pricing.matching import ties


@dataclass(frozen=True, slots=True)
class OwnTerms:
    """What differs from the plan; None or nothing where the plan's own holds. The cap is in minor units."""

    spend_cap: int | None = None
    discount_percent: Decimal | None = None
    prices: tuple[Price, ...] = ()

    @property
    def changes_charges(self) -> bool:
        """Whether anything differs that is versioned like a plan's prices."""
        return self.discount_percent is not None or bool(self.prices)

    def applied_to(self, tariff: Tariff) -> Tariff:
        """The tariff with these prices in front, in place of those that match the same thing equally; and the discount."""
        if any(ties(self.prices)):
            raise InvalidInput("prices", "no two that match the same thing equally")
        kept = [price for price in tariff.prices if not any(any(ties((own, price))) for own in self.prices)]
        discount = tariff.discount_percent if self.discount_percent is None else self.discount_percent
        return replace(tariff, prices=(*self.prices, *kept), discount_percent=discount)
