"""Where a customer stands at one instant: plan, period, and what was used so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.domain.period import Period
from tollkeeper.domain.plan import Plan
from tollkeeper.domain.usage import Totals


@dataclass(frozen=True, slots=True)
class Account:
    """One customer as read from the database, in the period that the request's instant belongs to.

    `plan` carries the limits as they are now, and the tariff that this period is priced by: a period keeps the version it
    began with.
    """

    user_id: str
    status: str
    plan: Plan
    tariff_plan_id: str
    tariff_version: int
    period: Period
    version: int = 0
    """Grows with every change to the period's totals."""
    tokens: int = 0
    totals: Totals = field(default_factory=dict)
    """Quantities by model and meter; read only where the tariff's cost depends on them."""
    spent: int = 0
    """Usage charges as an invoice drafted now would say, minor units."""
    cost_units: Decimal = Decimal(0)
    """The same, unrounded."""

    @property
    def spend(self) -> Decimal:
        """What counts against the cap: the rounded bill, or the unrounded one where that is more."""
        return max(Decimal(self.spent), self.cost_units)


class CustomerUnknown(TollkeeperError):
    """Nobody is known by this key or name."""

    def __init__(self) -> None:
        super().__init__("no customer is known by this API key")


class CustomerInactive(TollkeeperError):
    """The customer is known, and suspended or closed."""

    def __init__(self) -> None:
        super().__init__("this customer's account is not active")
