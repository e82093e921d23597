"""Plans, their rate limits, and which version prices a period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.period import Period
from tollkeeper.domain.plan import Plan, RateLimit, version_for
from tollkeeper.domain.pricing import Tariff


@dataclass(frozen=True)
class Version:
    number: int
    applied_at: datetime
    now: bool = False
    until: datetime | None = None


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


OCTOBER = Period(at("2026-10-01"), at("2026-11-01"))
NOVEMBER = Period(at("2026-11-01"), at("2026-12-01"))
DECEMBER = Period(at("2026-12-01"), at("2027-01-01"))
LONG_AGO = Period(at("2001-01-01"), at("2001-02-01"))


def chosen(period: Period, *versions: tuple[str, bool]) -> int:
    return version_for(period, [Version(n, at(when), now) for n, (when, now) in enumerate(versions, 1)]).number


@pytest.mark.parametrize(
    ("versions", "october", "november", "december"),
    [
        # the first reaches back without limit, and it does not matter whether it was applied with --now
        ([("2026-11-15", False)], 1, 1, 1),
        ([("2026-11-15", True)], 1, 1, 1),
        # a later one counts from the next period on
        ([("2026-01-01", False), ("2026-11-15", False)], 1, 1, 2),
        # applied exactly at the start of a period, it counts for that period
        ([("2026-01-01", False), ("2026-11-01", False)], 1, 2, 2),
        ([("2026-01-01", False), ("2026-11-01T00:00:00.000001", False)], 1, 1, 2),
        # with --now for the open period too
        ([("2026-01-01", False), ("2026-11-15", True)], 1, 2, 2),
        # applied exactly at the end of October, which is over then
        ([("2026-01-01", False), ("2026-11-01", True)], 1, 2, 2),
        ([("2026-01-01", False), ("2026-10-31T23:59:59.999999", True)], 2, 2, 2),
        # of those that count the latest wins
        ([("2026-01-01", False), ("2026-11-10", True), ("2026-11-15", False)], 1, 2, 3),
        ([("2026-01-01", False), ("2026-11-10", False), ("2026-11-15", True)], 1, 3, 3),
    ],
)
def test_a_version_counts_from_the_next_period_or_with_now_for_the_open_one(
    versions: list[tuple[str, bool]], october: int, november: int, december: int
) -> None:
    found = [chosen(period, *versions) for period in (OCTOBER, NOVEMBER, DECEMBER)]
    assert found == [october, november, december]
    assert chosen(LONG_AGO, *versions) == 1


def test_a_plan_without_a_version_prices_nothing() -> None:
    with pytest.raises(InvalidInput):
        version_for(NOVEMBER, [])


@pytest.mark.parametrize(
    ("text", "requests", "seconds"),
    [("60/minute", 60, 60), ("1/second", 1, 1), ("1000/hour", 1_000, 3_600), ("999999999/day", 999_999_999, 86_400)],
)
def test_a_rate_limit_is_written_as_requests_per_time(text: str, requests: int, seconds: int) -> None:
    limit = RateLimit.parse(text)
    assert (limit.requests, limit.seconds) == (requests, seconds)
    assert str(limit) == text


@pytest.mark.parametrize(
    "text",
    ["", "60", "60/week", "0/minute", "-1/minute", "06/minute", "1.5/minute", "60 / minute", "60/minute\n", "٦/minute"],
)
def test_a_rate_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        RateLimit.parse(text)


@pytest.mark.parametrize(
    ("quota_tokens", "included", "quota"),
    [(None, 0, None), (None, 500, 500), (1_000, 500, 1_000), (1_000, 0, 1_000)],
)
def test_the_quota_is_what_the_plan_says_or_what_it_includes(
    quota_tokens: int | None, included: int, quota: int | None
) -> None:
    assert Plan("p", "P", Tariff("usd", included_tokens=included), quota_tokens=quota_tokens).quota == quota


def test_a_plan_answers_for_its_tariff() -> None:
    plan = Plan("p", "P", Tariff("eur", interval="year", base_fee=5, included_tokens=7))
    assert (plan.currency, plan.interval, plan.base_fee, plan.included_tokens, plan.prices) == ("eur", "year", 5, 7, ())


def test_a_trial_comes_before_every_other_version_and_is_over_with_its_last_period() -> None:
    trial = Version(2, at("2026-10-10"), until=at("2026-11-01"))
    versions = [Version(1, at("2026-01-01")), trial, Version(3, at("2026-10-20"), now=True)]
    assert [version_for(period, versions).number for period in (OCTOBER, NOVEMBER)] == [2, 3]
