"""Parts of a period: where a plan changes inside one, each part is priced by the plan that was in force.

A part holds where it begins and not where it ends, so gaps and overlaps cannot be written down. What a plan sells by the
period (allowance, minimum, maximum) a part has for its share of the time, fixed when the plan changed; its tiers begin at zero.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

from tollkeeper.domain.period import Period
from tollkeeper.domain.proration import share
from tollkeeper.domain.usage import Totals

WHOLE = Fraction(1)


@dataclass(frozen=True, slots=True)
class PlanPart:
    """One plan's part of a period, from `start` to where the next part begins, and what was used in it."""

    start: datetime
    plan_id: str
    plan_version: int
    share: Fraction = WHOLE
    totals: Totals = field(default_factory=dict)


def part_at(parts: Sequence[PlanPart], at: datetime) -> int:
    """The index of the part that an instant of the period belongs to; a part has its own start, and not its end."""
    return max(bisect_right(parts, at, key=lambda part: part.start) - 1, 0)


def spans(starts: Sequence[datetime], end: datetime) -> list[Period]:
    """The span of each part of a period that ends at `end`."""
    return [Period(start, until) for start, until in zip(starts, [*starts[1:], end], strict=True)]


def shares(starts: Sequence[datetime], end: datetime) -> list[Fraction]:
    """How much of the period's time each part has; they add up to 1."""
    return [share(span, Period(starts[0], end)) for span in spans(starts, end)]


def from_then_on(parts: Sequence[PlanPart], at: datetime, plan_id: str) -> list[tuple[datetime, str]]:
    """(since, plan) of a period in which a plan is in force from an instant on; what was to follow is called off."""
    changes = [(part.start, part.plan_id) for part in parts if part.start < at]
    if not changes or changes[-1][1] != plan_id:
        changes.append((max(at, parts[0].start), plan_id))
    return changes
