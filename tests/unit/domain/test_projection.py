"""Projection, with the hand sum beside each case."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tollkeeper.domain.period import Period
from tollkeeper.domain.pricing import Price, Tariff, Tier
from tollkeeper.domain.projection import cap_reached_at, projected_amount, projected_totals

START = datetime(2026, 11, 1, tzinfo=UTC)
NOVEMBER = Period(START, datetime(2026, 12, 1, tzinfo=UTC))
CENT = Tariff("usd", prices=(Price("*", "*", (Tier(None, Decimal(1)),)),))


@pytest.mark.parametrize(
    ("days", "used", "expected"),
    [
        (10, 100, 300),  # a third of 30 days: three times as much
        (29, 29, 30),
        (30, 7, 7),  # over: nothing to project
        (0, 7, 7),  # no time has passed, so there is no rate
        (9, 1, 3),  # 3.33 tokens are 3
    ],
)
def test_usage_goes_on_at_the_rate_so_far(days: int, used: int, expected: int) -> None:
    totals = {("m", "input"): used}
    assert projected_amount([(CENT, totals, NOVEMBER)], NOVEMBER, START + timedelta(days=days)) == expected


def test_minutes_keep_their_decimals() -> None:
    totals: dict[tuple[str, str], Decimal | int] = {("m", "compute_minutes"): Decimal("0.5"), ("m", "requests"): 1}
    assert projected_totals(totals, totals, NOVEMBER, NOVEMBER, START + timedelta(days=20)) == {
        ("m", "compute_minutes"): Decimal("0.75"),
        ("m", "requests"): 2,  # one and a half
    }


def test_where_the_plan_changes_each_part_gets_what_is_to_come_in_its_time() -> None:
    """100 tokens in 10 days, 10 a day: the part that is over stays, the one that runs gets 5 days, the last one 15."""
    two_cents = Tariff("usd", prices=(Price("*", "*", (Tier(None, Decimal(2)),)),))
    days = [START + timedelta(days=n) for n in (0, 5, 15, 30)]
    spans = [Period(days[n], days[n + 1]) for n in range(3)]
    used: list[dict[tuple[str, str], Decimal | int]] = [{("m", "input"): 60}, {("m", "input"): 40}, {}]
    parts = list(zip([CENT, two_cents, CENT], used, spans, strict=True))
    assert projected_amount(parts, NOVEMBER, START + timedelta(days=10)) == 60 + 2 * (40 + 50) + 150


@pytest.mark.parametrize(
    ("days", "spent", "cap", "reached"),
    [
        (10, 100, 200, 20),  # as much again takes as long again
        (10, 100, 299, 29.9),
        (10, 100, 300, None),  # at the very end: the next period's
        (10, 0, 300, None),
        (10, 300, 300, None),  # reached already
        (0, 100, 300, None),  # no time has passed
        (30, 100, 300, None),  # over
    ],
)
def test_the_cap_is_reached_where_the_rate_so_far_leads(days: int, spent: int, cap: int, reached: float | None) -> None:
    expected = None if reached is None else START + timedelta(days=reached)
    assert cap_reached_at(spent, cap, NOVEMBER, START + timedelta(days=days)) == expected
