"""A hold: money set aside before a request runs, and the rule by which it fits under a cap.

The same rule stands in `counters/scripts/calls.lua`, where Redis applies it; here it is for PostgreSQL.
"""

from __future__ import annotations

from typing import NamedTuple

from tollkeeper.domain.pricing import FINE

NEVER_FREE = -1


class Bound(NamedTuple):
    """The most that one request can cost."""

    amount: int
    """Fine units."""
    soft: bool
    """The request states no limit, or is paid for by what cannot be known before it: the amount is a guess."""
    tokens: int
    free_until: int
    """It costs nothing as long as the tokens used and held stay at or below this; `NEVER_FREE` where it always costs."""

    def fits(self, cap: int | None, spent: int, held: int, tokens_taken: int) -> bool:
        """Whether the request may run under a cap in minor units. `spent` and `held` are in fine units; `held` and
        `tokens_taken` (used and held) are without this request.

        A guess fits as long as there is any room at all: it stands for what is left of it.
        """
        if cap is None or self.amount == 0 or tokens_taken + self.tokens <= self.free_until:
            return True
        room = cap * FINE - spent - held
        return self.amount <= room or (self.soft and room > 0)
