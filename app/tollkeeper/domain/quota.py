"""Quotas: a quantity of tokens in a period, and the notices on the way to it."""

from __future__ import annotations

from decimal import Decimal

THRESHOLDS = (50, 80, 100)


def thresholds_crossed(
    before: int | Decimal, after: int | Decimal, limit: int | None, thresholds: tuple[int, ...] = THRESHOLDS
) -> tuple[int, ...]:
    """Which percentages of the limit lie above `before` and at or below `after`; none without a limit."""
    if not limit or before * 100 // limit == after * 100 // limit:
        return ()  # no whole percent lies between
    return tuple(percent for percent in thresholds if before * 100 < limit * percent <= after * 100)
