"""When a subscription's periods begin and end, from its anchor."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Any


def first_anchor(config: dict[str, Any], now: int) -> int:
    """The next moment after `now` that a `billing_cycle_anchor_config` names; what it leaves open is that of `now`."""
    start = datetime.fromtimestamp(now, UTC)
    clock = {unit: config.get(unit, getattr(start, unit)) for unit in ("hour", "minute", "second")}
    for months in range(25):
        year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
        if config.get("month") not in (None, month + 1):
            continue
        day = min(config["day_of_month"], monthrange(year, month + 1)[1])
        anchor = datetime(year, month + 1, day, tzinfo=UTC, **clock)
        if anchor > start:
            return int(anchor.timestamp())
    raise AssertionError("every month comes within two years")


def period_end(start: int, anchor: int, recurring: dict[str, Any], anchor_day: int | None = None) -> int:
    """The end of the period that begins at `start`: the anchor itself where that is still to come."""
    if start < anchor:
        return anchor
    if recurring["interval"] in ("day", "week"):
        days = recurring["interval_count"] * (7 if recurring["interval"] == "week" else 1)
        return start + int(timedelta(days=days).total_seconds())
    months = recurring["interval_count"] * (12 if recurring["interval"] == "year" else 1)
    first = datetime.fromtimestamp(anchor, UTC)
    passed = months
    while True:
        at = _months_after(first, passed, anchor_day)
        if at.timestamp() > start:
            return int(at.timestamp())
        passed += months


def _months_after(first: datetime, months: int, day: int | None) -> datetime:
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return first.replace(year=year, month=month + 1, day=min(day or first.day, monthrange(year, month + 1)[1]))
