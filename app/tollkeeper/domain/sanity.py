"""Sanity: whether an amount is so far beyond what a customer was billed before that a person should look first.

Not a cap: nothing is lost and nobody is turned away. A bill that is held back for a day does less harm than one that a slip
in a price made a thousand times too high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tollkeeper.domain.currency import display

HISTORY = 6
"""How many of a customer's last invoices are looked at."""
ENOUGH = 3
"""With fewer invoices there is no history to measure against."""


@dataclass(frozen=True, slots=True)
class SanityBound:
    """A bill of more than `multiple` times the largest one before is held back, unless it is at most `floor` minor units.

    A multiple of 0 switches the bound off.
    """

    multiple: int = 0
    floor: int = 0

    def objection(self, charges: int, history: Sequence[int], currency: str) -> str | None:
        """Why a bill should be looked at first, in one line; None where it looks like those before it.

        `charges` and the `history` are what was charged before credits, in minor units.
        """
        if not self.multiple or charges <= self.floor or len(history) < ENOUGH:
            return None
        largest = max(*history, 0)
        if charges <= self.multiple * largest:
            return None
        return (
            f"{display(charges, currency)} is more than {self.multiple} times the largest of the last "
            f"{len(history)} invoices, {display(largest, currency)}"
        )


NO_BOUND = SanityBound()
