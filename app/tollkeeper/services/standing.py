"""Standing: what customers bring to their next invoice: credit, negative totals carried forward, and what was charged before.

Several periods of one customer may be decided on together; each leaves the customer's standing as the next one finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from tollkeeper.domain.sanity import HISTORY
from tollkeeper.services.crediting import Purse
from tollkeeper.storage.adjustments import Adjustment, waiting_adjustments
from tollkeeper.storage.credits import grants_of
from tollkeeper.storage.invoices import carried_balances, last_charges


@dataclass(slots=True)
class Standing:
    """One customer's. Money is by currency, in minor units."""

    purse: Purse = field(default_factory=Purse)
    carried: dict[str, int] = field(default_factory=dict)
    """What is coming to them from negative totals."""
    adjustments: list[Adjustment] = field(default_factory=list)
    """What somebody adds to the next invoice by hand, or takes off it."""
    charges: dict[str, list[int]] = field(default_factory=dict)
    """What their last invoices charged before credits, the newest last."""

    def billed(self, currency: str, *, charges: int, carried: int, purse: Purse) -> None:
        """Go on from an invoice that was just drafted."""
        self.purse = purse
        self.adjustments = [one for one in self.adjustments if one.currency != currency]
        self.carried[currency] = self.carried.get(currency, 0) + carried
        self.charges[currency] = [*self.charges.get(currency, []), charges][-HISTORY:]


def standings(connection: Connection, users: Sequence[str]) -> dict[str, Standing]:
    """Every customer's standing, by name."""
    found = {user_id: Standing() for user_id in users}
    for (user_id, currency), carried in carried_balances(connection, users).items():
        found[user_id].carried[currency] = carried
    for (user_id, currency), charges in last_charges(connection, users, HISTORY).items():
        found[user_id].charges[currency] = charges
    for adjustment in waiting_adjustments(connection, users):
        found[adjustment.user_id].adjustments.append(adjustment)
    for grant in grants_of(connection, users):
        found[grant.user_id].purse.grants.append(grant)
    return found
