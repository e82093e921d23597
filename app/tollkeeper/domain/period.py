"""Billing periods: half-open spans of UTC time, by the calendar or from a customer's anchor.

An anniversary keeps the anchor's day: 31 January, 28 February, 31 March. Where a month is too short its last day stands
in, and the next month goes back to the anchor's own day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from tollkeeper.domain.errors import InvalidInput

INTERVALS = ("month", "year", "anniversary")


@dataclass(frozen=True, slots=True)
class Period:
    """`[start, end)`: an event stamped exactly at the end belongs to the next one."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", utc(self.start, "period_start"))
        object.__setattr__(self, "end", utc(self.end, "period_end"))
        if self.start >= self.end:
            raise InvalidInput("period_end", "an instant after the period's start")

    def contains(self, at: datetime) -> bool:
        """Whether the instant lies inside; the end does not."""
        return self.start <= utc(at, "at") < self.end

    @property
    def last_second(self) -> datetime:
        """One second before the end: the stamp for what sums the period up."""
        return self.end - timedelta(seconds=1)


def utc(at: datetime, field: str = "timestamp") -> datetime:
    """The same instant in UTC; a naive datetime is refused."""
    if at.utcoffset() is None:
        raise InvalidInput(field, "a time with an offset, such as 2026-11-01T00:00:00Z")
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise InvalidInput(field, "a time that in UTC lies in the years 1 to 9999") from error


def period_of(interval: str, at: datetime, anchor: datetime | None = None) -> Period:
    """The period that an instant belongs to.

    `month` and `year` go by the UTC calendar and pay no attention to the anchor; `anniversary` needs it. An anchor's
    fraction of a second is dropped.
    """
    at = utc(at, "at")
    try:
        return _period_of(interval, at, anchor if interval == "anniversary" else None)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("at", "a time whose whole period lies in the years 1 to 9999") from error


def cut(period: Period, at: datetime, *instants: datetime | None) -> Period:
    """The part of a period that an instant of it lies in, where the period is cut at some instants; None cuts nothing."""
    for instant in instants:
        if instant is not None and period.start < instant < period.end:
            period = Period(instant, period.end) if at >= instant else Period(period.start, instant)
    return period


def parts_of(period: Period, *instants: datetime | None) -> Iterator[Period]:
    """The parts of a period that is cut at some instants, oldest first."""
    at = period.start
    while at < period.end:
        part = cut(period, at, *instants)
        yield part
        at = part.end


def next_period(interval: str, period: Period, anchor: datetime | None = None) -> Period:
    """The period that begins where this one ends."""
    return period_of(interval, period.end, anchor)


def periods_between(interval: str, start: datetime, end: datetime, anchor: datetime | None = None) -> Iterator[Period]:
    """Every period that shares an instant with `[start, end)`, oldest first."""
    at, end = utc(start, "start"), utc(end, "end")
    while at < end:
        period = period_of(interval, at, anchor)
        yield period
        at = period.end


@lru_cache(maxsize=1024)  # most customers of a close share their period
def _period_of(interval: str, at: datetime, anchor: datetime | None) -> Period:
    if interval == "month":
        first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return Period(first, _months_after(first, 1))
    if interval == "year":
        first = at.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
        return Period(first, _months_after(first, 12))
    if interval != "anniversary":
        raise InvalidInput("interval", f"one of {', '.join(INTERVALS)}")
    if anchor is None:
        raise InvalidInput("period_anchor", "an anchor, because the plan's interval is anniversary")
    return _anniversary(at, utc(anchor, "period_anchor").replace(microsecond=0))


def _anniversary(at: datetime, anchor: datetime) -> Period:
    months = (at.year - anchor.year) * 12 + at.month - anchor.month
    if _months_after(anchor, months) > at:
        months -= 1
    return Period(_months_after(anchor, months), _months_after(anchor, months + 1))


def _months_after(anchor: datetime, months: int) -> datetime:
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    return anchor.replace(year=year, month=month + 1, day=min(anchor.day, _days_in(year, month + 1)))


def _days_in(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31
