"""What reconciling finds out about one period."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from tollkeeper.domain.period import Period
from tollkeeper.storage.collections import Collection
from tollkeeper.storage.reports import Report


@dataclass(slots=True)
class ReconciledPeriod:
    """One customer's period, or one plan's part of it, seen from every side; quantities are tokens of all types, amounts minor units.

    A difference is something that must not be; a note is something on its way.
    """

    user_id: str
    period: Period
    status: str
    currency: str
    tokens_in_events: int
    tokens_in_totals: int
    tokens_billed: int = 0
    tokens_late: int = 0
    """Came after the close and waits for the next invoice."""
    amount_billed: int = 0
    """On all invoices, late usage included, without base fees."""
    tokens_reported: int = 0
    tokens_at_stripe: Decimal | None = None
    """What Stripe counts on the meters that this period was reported to; None where it was not asked."""
    amount_to_collect: int = 0
    """On its invoices, where we price the usage and have it collected; and late usage that goes onto Stripe's own invoice."""
    amount_collected: int | None = None
    """What Stripe and Paystack say that the invoices they collect for us are over; None where neither was asked."""
    reports: list[Report] = field(default_factory=list)
    collections: list[Collection] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.differences
