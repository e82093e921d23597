from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.services.instants import parse_instant, parse_instant_or_date

NINE = datetime(2026, 11, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-01T09:00:00Z",
        "2026-11-01T09:00:00z",
        "2026-11-01t09:00:00Z",
        "2026-11-01 09:00:00+00",  # as PostgreSQL prints it
        "2026-11-01T09:00Z",
        "2026-11-01T10:00:00+01:00",
        "2026-11-01T03:30:00-0530",
        "2026-11-01T09:00:00.000000000Z",
        "2026-11-01T09:00:00,0Z",
    ],
)
def test_the_same_instant_can_be_written_in_many_ways(text: str) -> None:
    assert parse_instant(text, "at") == NINE
    assert parse_instant(text, "at").tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-01T09:00:00",
        "2026-11-01 09:00",
        "2026-11-01",
        "2026-W44-7T09:00:00Z",
        "20261101T090000Z",
        "1793523600",
        "２０２６-11-01T09:00:00Z",
        " 2026-11-01T09:00:00Z",
        "2026-11-01T09:00:00Z\n",
        "yesterday",
        "",
    ],
)
def test_a_time_without_an_offset_or_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="at: expected an ISO 8601 time with an offset"):
        parse_instant(text, "at")


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-11-01T24:30:00Z",
        "2026-11-01T09:00:60Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
    ],
)
def test_a_time_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="at: expected a date and time that exist"):
        parse_instant(text, "at")


def test_a_bare_date_is_its_first_instant_in_utc_where_dates_are_taken() -> None:
    assert parse_instant_or_date("2026-11-01", "at") == datetime(2026, 11, 1, tzinfo=UTC)
    assert parse_instant_or_date("2026-11-01T10:00:00+01:00", "at") == NINE


@pytest.mark.parametrize("text", ["2026-11-01T09:00:00", "2026-11", "today"])
def test_where_dates_are_taken_a_time_still_needs_its_offset(text: str) -> None:
    with pytest.raises(InvalidInput, match="or a date in UTC"):
        parse_instant_or_date(text, "at")


def test_a_date_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidInput, match="exist"):
        parse_instant_or_date("2026-02-30", "at")
