"""Quotas: a quantity of tokens in a period, and the notices on the way to it."""

from __future__ import annotations

THRESHOLDS = (50, 80, 100)


def thresholds_crossed(before: int, after: int, quota: int | None) -> tuple[int, ...]:
    """Which of 50, 80 and 100 percent of the quota lie above `before` and at or below `after`."""
    if not quota:
        return ()
    return tuple(percent for percent in THRESHOLDS if before * 100 < quota * percent <= after * 100)
