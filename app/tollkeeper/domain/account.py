"""Where a customer stands at one instant: plan, period, and what was used so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.domain.period import Period
from tollkeeper.domain.plan import Plan
from tollkeeper.domain.pricing import FINE, Position
from tollkeeper.domain.usage import Totals


@dataclass(slots=True, eq=False)
class Account:
    """One customer as read from the database, in the period that the request's instant belongs to. Never changed once made.

    `plan` carries the limits as they are now, and the tariff that this period is priced by: a period keeps the version it
    began with.
    """

    user_id: str
    status: str
    plan: Plan
    tariff_plan_id: str
    tariff_version: int
    period: Period
    position: Position
    """What was used of each price so far; others read it, so whoever adds to it takes a copy."""
    version: int = 0
    """Grows with every change to the period's totals."""
    tokens: int = 0
    totals: Totals = field(default_factory=dict)
    """Quantities by model and meter."""
    spent: int = 0
    """Usage charges as an invoice drafted now would say, minor units."""
    cost: int = 0
    """The same unrounded, in fine units."""

    @property
    def spend(self) -> int:
        """What counts against the cap, in fine units: the rounded bill, or the unrounded one where that is more."""
        return max(self.spent * FINE, self.cost)


class CustomerUnknown(TollkeeperError):
    """Nobody is known by this key or name."""

    def __init__(self) -> None:
        super().__init__("no customer is known by this API key")


class CustomerInactive(TollkeeperError):
    """The customer is known, and suspended or closed."""

    def __init__(self) -> None:
        super().__init__("this customer's account is not active")
