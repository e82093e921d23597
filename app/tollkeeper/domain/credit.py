"""Credits: prepaid money and granted tokens, which grant is drawn on first, and what is left of it.

A grant's state is the sum of its ledger entries and never below zero. Drawing down is a pure function here; whoever
stores the draws does so under a lock on the customer's grants, so that no two closes see the same balance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from tollkeeper.domain.currency import minor_step
from tollkeeper.domain.errors import InvalidInput, TollkeeperError
from tollkeeper.domain.money import bigint
from tollkeeper.domain.period import Period, utc
from tollkeeper.domain.pricing import FINE, RatedLine

TOKENS = "tokens"
"""The unit of a grant of tokens; a grant of money has its currency there."""

_NEVER = datetime.max.replace(tzinfo=UTC)


class CreditOverdrawn(TollkeeperError):
    """A draw-down would take a grant below zero."""

    def __init__(self, grant_id: str) -> None:
        super().__init__(f"grant {grant_id} has less left than was to be drawn from it")
        self.grant_id = grant_id


@dataclass(frozen=True, slots=True)
class Grant:
    """Money (minor units) or tokens that a customer has been given or has paid for, and how much is `left`."""

    id: str
    unit: str
    left: int
    granted_at: datetime
    expires_at: datetime | None = None
    priority: int = 50

    def __post_init__(self) -> None:
        object.__setattr__(self, "granted_at", utc(self.granted_at, "granted_at"))
        if self.expires_at is not None:
            object.__setattr__(self, "expires_at", utc(self.expires_at, "expires_at"))
        if type(self.left) is not int or self.left < 0:
            raise InvalidInput("left", "a whole number, not negative")
        if self.unit != TOKENS:
            minor_step(self.unit)

    def counts_for(self, period: Period) -> bool:
        """Whether the grant was good at any instant of the period: it still pays for the period that it expires in."""
        return self.granted_at < period.end and (self.expires_at is None or self.expires_at > period.start)


@dataclass(frozen=True, slots=True)
class Draw:
    """So much taken from a grant, and what it has left."""

    grant_id: str
    amount: int
    left: int


@dataclass(frozen=True, slots=True)
class Recurring:
    """A grant that comes anew with every period. What is left of the old one expires, or is carried over up to a bound.

    `at_most` bounds what a customer can have at the start of a period, the new amount included.
    """

    amount: int
    carries_over: bool = False
    at_most: int | None = None

    def renewed(self, left: int) -> int:
        """What the customer has at the start of the next period, where `left` was left of this one."""
        carried = left if self.carries_over else 0
        room = carried if self.at_most is None else max(self.at_most - self.amount, 0)
        return self.amount + min(carried, room)


def draw_down(grants: Iterable[Grant], needed: int, unit: str, period: Period) -> tuple[Draw, ...]:
    """What to take from which grant to cover `needed`, or as much of it as there is; money in the currency's step.

    The lowest priority number goes first, then what expires soonest, then the oldest, then by id: so the order is the
    same whoever asks.
    """
    step = 1 if unit == TOKENS else minor_step(unit)
    draws = []
    for grant in sorted((g for g in grants if g.unit == unit and g.counts_for(period)), key=_order):
        amount = min(grant.left, needed) // step * step
        if amount > 0:
            draws.append(Draw(grant.id, amount, grant.left - amount))
            needed -= amount
    return tuple(draws)


def balance(grant_id: str, entries: Iterable[int]) -> int:
    """What a grant's ledger adds up to; `CreditOverdrawn` where it ever goes below zero."""
    left = 0
    for entry in entries:
        left += entry
        if left < 0:
            raise CreditOverdrawn(grant_id)
    return bigint(left)


def credit_line(draw: Draw, description: str) -> RatedLine:
    """The invoice's line for prepaid money that pays part of it."""
    return RatedLine(kind="credit", fine=-draw.amount * FINE, amount=-draw.amount, description=description)


def _order(grant: Grant) -> tuple[int, datetime, datetime, str]:
    return (grant.priority, grant.expires_at or _NEVER, grant.granted_at, grant.id)
