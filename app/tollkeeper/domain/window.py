"""Windows: the UTC days or hours of a period, for those who want usage told before the period is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from tollkeeper.domain.period import Period, utc

Cadence: TypeAlias = Literal["period", "day", "hour"]
"""How often usage is told: once when its period is over, or with every day or hour that is over."""

_LENGTH = {"day": timedelta(days=1), "hour": timedelta(hours=1)}


def begun_by(at: datetime, cadence: Cadence) -> datetime:
    """When the window began that an instant lies in: midnight, or the full hour, in UTC."""
    at = utc(at, "at").replace(minute=0, second=0, microsecond=0)
    return at.replace(hour=0) if cadence == "day" else at


def windows_between(period: Period, since: datetime, until: datetime, cadence: Cadence) -> Iterator[Period]:
    """The windows of a period from one that begins at `since` up to one that ends at `until`, cut by the period's ends."""
    start = max(since, period.start)
    while start < min(until, period.end):
        end = min(begun_by(start, cadence) + _LENGTH[cadence], period.end)
        yield Period(start, end)
        start = end
