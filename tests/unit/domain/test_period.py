"""Periods: half-open, in UTC, by the calendar or from an anchor that keeps its day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.period import INTERVALS, Period, next_period, period_of, periods_between, utc
from unit.domain import oracle


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def span(period: Period) -> tuple[str, str]:
    return (f"{period.start:%Y-%m-%d %H:%M:%S}", f"{period.end:%Y-%m-%d %H:%M:%S}")


@pytest.mark.parametrize(
    ("interval", "instant", "start", "end"),
    [
        ("month", "2026-11-21T12:00:00+00:00", "2026-11-01 00:00:00", "2026-12-01 00:00:00"),
        ("month", "2026-12-31T23:59:59.999999+00:00", "2026-12-01 00:00:00", "2027-01-01 00:00:00"),
        ("month", "2027-01-01T00:00:00+00:00", "2027-01-01 00:00:00", "2027-02-01 00:00:00"),
        # still November in Samoa, already December in UTC
        ("month", "2026-11-30T13:00:00-11:00", "2026-12-01 00:00:00", "2027-01-01 00:00:00"),
        # already December on Kiritimati, still November in UTC
        ("month", "2026-12-01T13:59:59+14:00", "2026-11-01 00:00:00", "2026-12-01 00:00:00"),
        ("year", "2026-11-21T12:00:00+00:00", "2026-01-01 00:00:00", "2027-01-01 00:00:00"),
        ("year", "2028-02-29T12:00:00+00:00", "2028-01-01 00:00:00", "2029-01-01 00:00:00"),
    ],
)
def test_months_and_years_go_by_the_utc_calendar(interval: str, instant: str, start: str, end: str) -> None:
    assert span(period_of(interval, at(instant))) == (start, end)


@pytest.mark.parametrize(
    ("anchor", "starts"),
    [
        ("2026-01-31T14:37:05", ["01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31"]),
        ("2028-01-30T14:37:05", ["01-30", "02-29", "03-30", "04-30", "05-30", "06-30", "07-30"]),
        ("2028-02-29T14:37:05", ["02-29", "03-29", "04-29", "05-29", "06-29", "07-29", "08-29"]),
        ("2026-01-29T14:37:05", ["01-29", "02-28", "03-29", "04-29", "05-29", "06-29", "07-29"]),
        ("2100-01-31T14:37:05", ["01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31"]),  # no leap year
        ("2000-01-31T14:37:05", ["01-31", "02-29", "03-31", "04-30", "05-31", "06-30", "07-31"]),  # but this is
        ("2026-10-15T14:37:05", ["10-15", "11-15", "12-15", "01-15", "02-15", "03-15", "04-15"]),
    ],
)
def test_an_anniversary_keeps_the_anchor_s_day_and_second(anchor: str, starts: list[str]) -> None:
    first = at(anchor + "+00:00")
    periods = islice(periods_between("anniversary", first, first + timedelta(days=400), first), len(starts))
    assert [f"{p.start:%m-%d %H:%M:%S}" for p in periods] == [f"{start} 14:37:05" for start in starts]


def test_29_february_comes_back_in_the_next_leap_year() -> None:
    anchor = at("2028-02-29T00:00:00+00:00")
    assert span(period_of("anniversary", at("2029-02-28T12:00:00+00:00"), anchor))[0] == "2029-02-28 00:00:00"
    assert span(period_of("anniversary", at("2032-02-29T12:00:00+00:00"), anchor))[0] == "2032-02-29 00:00:00"


@pytest.mark.parametrize(
    ("instant", "start"),
    [
        ("2026-02-28T14:37:05+00:00", "2026-02-28 14:37:05"),  # the boundary itself begins the new period
        ("2026-02-28T14:37:04.999999+00:00", "2026-01-31 14:37:05"),
        ("2025-12-31T14:37:05+00:00", "2025-12-31 14:37:05"),  # before the anchor it goes on backwards
        ("2025-12-31T14:37:04+00:00", "2025-11-30 14:37:05"),
    ],
)
def test_an_anniversary_s_boundary_belongs_to_the_new_period(instant: str, start: str) -> None:
    anchor = at("2026-01-31T14:37:05.900000+00:00")  # the fraction of a second is dropped
    assert span(period_of("anniversary", at(instant), anchor))[0] == start


def test_an_anchor_in_another_offset_is_the_same_instant() -> None:
    elsewhere = at("2026-01-31T23:37:05+09:00")
    assert period_of("anniversary", at("2026-03-01T00:00:00+00:00"), elsewhere).start == at("2026-02-28T14:37:05+00:00")


instants = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.sampled_from(INTERVALS), instants, instants, offsets)
def test_periods_follow_one_another_without_gap_and_hold_their_instants(
    interval: str, instant: datetime, anchor: datetime, offset: timezone
) -> None:
    period = period_of(interval, instant.astimezone(offset), anchor.astimezone(offset))
    following = next_period(interval, period, anchor)
    assert period.contains(instant)
    assert following.start == period.end
    assert period_of(interval, period.start, anchor) == period
    assert period_of(interval, period.end - timedelta(microseconds=1), anchor) == period
    assert not period.contains(period.end)


@given(instants, st.integers(-700, 4_000), st.integers(0, 86_400_000_000 - 1))
def test_anniversaries_are_those_that_a_plain_calendar_counts(anchor: datetime, days: int, microseconds: int) -> None:
    instant = anchor + timedelta(days=days, microseconds=microseconds)
    assert period_of("anniversary", instant, anchor).start == oracle.period_start("anniversary", instant, anchor)


def test_periods_between_are_all_that_share_an_instant_with_the_span() -> None:
    periods = list(periods_between("month", at("2026-10-31T23:59:59+00:00"), at("2027-01-01T00:00:00+00:00")))
    assert [p.start.month for p in periods] == [10, 11, 12]
    assert all(earlier.end == later.start for earlier, later in pairwise(periods))
    assert list(periods_between("month", at("2026-10-01T00:00:00+00:00"), at("2026-10-01T00:00:00+00:00"))) == []


def test_the_last_second_of_a_period_is_inside_it() -> None:
    period = period_of("month", at("2026-11-21T00:00:00+00:00"))
    assert period.last_second == at("2026-11-30T23:59:59+00:00")
    assert period.contains(period.last_second)


def test_a_naive_time_is_refused_everywhere() -> None:
    naive, aware = datetime(2026, 11, 1), datetime(2026, 11, 1, tzinfo=UTC)
    for call in (
        lambda: utc(naive),
        lambda: period_of("month", naive),
        lambda: period_of("anniversary", aware, naive),
        lambda: Period(naive, aware + timedelta(1)),
        lambda: Period(aware, naive + timedelta(1)),
        lambda: Period(aware, aware + timedelta(1)).contains(naive),
        lambda: list(periods_between("month", naive, aware)),
    ):
        with pytest.raises(InvalidInput):
            call()


@pytest.mark.parametrize(
    ("interval", "instant", "anchor"),
    [
        ("week", "2026-11-01T00:00:00+00:00", None),
        ("anniversary", "2026-11-01T00:00:00+00:00", None),
        ("month", "9999-12-31T23:00:00+00:00", None),
        ("year", "9999-12-31T23:00:00+00:00", None),
        ("month", "9999-12-31T23:00:00-05:00", None),
        ("month", "0001-01-01T00:00:00+05:00", None),
        ("anniversary", "0001-01-01T00:00:00+00:00", "2026-11-02T00:00:00+00:00"),
    ],
)
def test_a_period_that_cannot_be_is_refused(interval: str, instant: str, anchor: str | None) -> None:
    with pytest.raises(InvalidInput):
        period_of(interval, at(instant), at(anchor) if anchor else None)


def test_a_period_without_length_is_refused() -> None:
    with pytest.raises(InvalidInput):
        Period(at("2026-11-01T00:00:00+00:00"), at("2026-11-01T00:00:00+00:00"))


def test_a_period_is_kept_in_utc() -> None:
    period = Period(at("2026-11-01T01:00:00+01:00"), at("2026-12-01T01:00:00+01:00"))
    assert period == period_of("month", at("2026-11-05T00:00:00+00:00"))
    assert period.start.tzinfo is UTC
