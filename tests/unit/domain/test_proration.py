"""Parts of a period, and what each owes of things sold by the period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.currency import parse_major
from tollkeeper.domain.period import Period
from tollkeeper.domain.plan_part import spans
from tollkeeper.domain.pricing import Price, Tariff, Tier
from tollkeeper.domain.proration import base_fee_line, for_part, share, trial_end
from unit.domain import oracle


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NOVEMBER = Period(at("2026-11-01"), at("2026-12-01"))


def test_a_share_is_exact_to_the_microsecond_and_counts_no_time_outside() -> None:
    assert share(Period(at("2026-11-01"), at("2026-11-16")), NOVEMBER) == Fraction(1, 2)
    one = Period(NOVEMBER.start, NOVEMBER.start + timedelta(microseconds=1))
    assert share(one, NOVEMBER) == Fraction(1, 30 * 86_400 * 10**6)
    assert share(Period(at("2026-10-01"), at("2027-01-01")), NOVEMBER) == 1
    assert share(Period(at("2026-10-01"), at("2026-11-01")), NOVEMBER) == 0
    assert share(Period(at("2026-10-01"), at("2026-10-05")), NOVEMBER) == 0


@pytest.mark.parametrize(
    ("currency", "fee", "until", "amount"),
    [
        ("usd", 9_900, "2026-12-01", 9_900),  # all of it
        ("usd", 9_900, "2026-11-16", 4_950),  # 15 of 30 days
        ("usd", 9_900, "2026-11-11", 3_300),  # 10 of 30
        ("usd", 9_900, "2026-11-02T12:00:00", 495),  # 1.5 of 30
        ("usd", 101, "2026-11-16", 51),  # 50.5, away from zero
        ("jpy", 1_001, "2026-11-16", 501),
        ("kwd", 9_990, "2026-11-16", 5_000),  # 4,995 fils to the next ten
        ("isk", 100_100, "2026-11-16", 50_100),  # 50,050 to the next hundred
        ("usd", 1, "2026-11-02", None),  # a thirtieth of a cent: no line
        ("usd", 0, "2026-12-01", None),
    ],
)
def test_a_base_fee_is_prorated_by_time_and_rounded_once(
    currency: str, fee: int, until: str, amount: int | None
) -> None:
    line = base_fee_line(Tariff(currency, base_fee=fee), Period(NOVEMBER.start, at(until)), NOVEMBER, "Pro")
    assert (line and line.amount) == amount
    if line is not None:
        assert line.kind == "base_fee"


@given(
    st.sampled_from(["usd", "jpy", "kwd", "isk"]),
    st.integers(0, 10**7),
    st.lists(st.integers(0, 30 * 86_400 * 10**6), max_size=4),
)
def test_base_fees_of_any_parts_are_what_the_oracle_says(currency: str, fee: int, cuts: list[int]) -> None:
    starts = [NOVEMBER.start + timedelta(microseconds=cut) for cut in sorted({0, *cuts} - {30 * 86_400 * 10**6})]
    written = {"currency": currency, "base_fee": str(fee)}
    tariff = Tariff(currency, base_fee=parse_major(str(fee), currency))
    for span in spans(starts, NOVEMBER.end):
        line = base_fee_line(tariff, span, NOVEMBER, "Pro")
        expected = oracle.base_fee(written, span.start, span.end, (NOVEMBER.start, NOVEMBER.end))
        assert (line.amount if line else 0) == expected


def test_a_base_fee_says_for_which_part_it_is() -> None:
    tariff = Tariff("usd", base_fee=9_900)
    whole = base_fee_line(tariff, NOVEMBER, NOVEMBER, "Pro")
    half = base_fee_line(tariff, Period(at("2026-11-16"), at("2026-12-01")), NOVEMBER, "Pro")
    assert whole is not None
    assert half is not None
    assert whole.description == "Pro: base fee $99.00"
    assert half.description == "Pro: base fee $99.00 for 2026-11-16 00:00:00 to 2026-12-01 00:00:00 UTC"


def test_allowance_and_bounds_shrink_with_the_part_but_prices_do_not() -> None:
    prices = (Price("*", "*", (Tier(100, Decimal(1)), Tier(None, Decimal(2)))),)
    tariff = Tariff("kwd", base_fee=50, included_tokens=1_001, minimum=1_010, maximum=3_030, prices=prices)
    assert for_part(tariff, Fraction(1, 2)) == Tariff(
        "kwd", base_fee=50, included_tokens=501, minimum=510, maximum=1_520, prices=prices
    )
    assert for_part(tariff, Fraction(1)) == tariff
    assert for_part(Tariff("usd"), Fraction(1, 3)) == Tariff("usd")


def test_a_trial_lasts_whole_days_from_the_start() -> None:
    assert trial_end(at("2026-11-01T14:37:05"), 14) == at("2026-11-15T14:37:05")
    assert trial_end(at("2026-11-01"), 0) is None
    assert trial_end(datetime(2026, 11, 1, 1, tzinfo=UTC), 1) == at("2026-11-02T01:00:00")
