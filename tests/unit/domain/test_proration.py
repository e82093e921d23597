"""Parts of a period, and what each owes of things sold by the period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.currency import parse_major
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.period import Period
from tollkeeper.domain.pricing import Price, Tariff, Tier
from tollkeeper.domain.proration import Part, base_fee_line, for_part, parts_of, share, trial_end
from unit.domain import oracle


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NOVEMBER = Period(at("2026-11-01"), at("2026-12-01"))


def named(parts: tuple[Part[str], ...]) -> list[tuple[str, str, str, bool]]:
    return [(f"{p.span.start:%m-%d}", f"{p.span.end:%m-%d}", p.value, p.in_trial) for p in parts]


@pytest.mark.parametrize(
    ("changes", "trial_until", "expected"),
    [
        ([("2026-01-01", "a")], None, [("11-01", "12-01", "a", False)]),
        # what was in force first also counts for the time before
        ([("2026-11-20", "a")], None, [("11-01", "12-01", "a", False)]),
        (
            [("2026-01-01", "a"), ("2026-11-16", "b")],
            None,
            [("11-01", "11-16", "a", False), ("11-16", "12-01", "b", False)],
        ),
        # a change on the boundary is no cut: the start begins with the new one, the end is the next period's
        ([("2026-01-01", "a"), ("2026-11-01", "b")], None, [("11-01", "12-01", "b", False)]),
        ([("2026-01-01", "a"), ("2026-12-01", "b")], None, [("11-01", "12-01", "a", False)]),
        # of two at the same instant the later one counts
        (
            [("2026-01-01", "a"), ("2026-11-16", "b"), ("2026-11-16", "c")],
            None,
            [("11-01", "11-16", "a", False), ("11-16", "12-01", "c", False)],
        ),
        ([("2026-01-01", "a")], "2026-11-08", [("11-01", "11-08", "a", True), ("11-08", "12-01", "a", False)]),
        ([("2026-01-01", "a")], "2026-11-01", [("11-01", "12-01", "a", False)]),
        ([("2026-01-01", "a")], "2026-12-01", [("11-01", "12-01", "a", True)]),
        (
            [("2026-01-01", "a"), ("2026-11-05", "b")],
            "2026-11-08",
            [("11-01", "11-05", "a", True), ("11-05", "11-08", "b", True), ("11-08", "12-01", "b", False)],
        ),
    ],
)
def test_a_period_is_cut_at_each_change_and_at_the_end_of_the_trial(
    changes: list[tuple[str, str]], trial_until: str | None, expected: list[tuple[str, str, str, bool]]
) -> None:
    until = at(trial_until) if trial_until else None
    assert named(parts_of(NOVEMBER, [(at(when), what) for when, what in changes], until)) == expected


seconds = st.integers(-5_000_000, 5_000_000)


@given(st.lists(seconds, min_size=1, max_size=6), st.none() | seconds)
def test_the_parts_of_a_period_make_it_up_without_gap(offsets: list[int], trial: int | None) -> None:
    changes = [(NOVEMBER.start + timedelta(seconds=s), n) for n, s in enumerate(sorted(offsets))]
    parts = parts_of(NOVEMBER, changes, None if trial is None else NOVEMBER.start + timedelta(seconds=trial))
    assert parts[0].span.start == NOVEMBER.start
    assert parts[-1].span.end == NOVEMBER.end
    assert all(earlier.span.end == later.span.start for earlier, later in pairwise(parts))
    assert sum(share(part.span, NOVEMBER) for part in parts) == 1


def test_what_was_in_force_must_be_known() -> None:
    with pytest.raises(InvalidInput):
        parts_of(NOVEMBER, [])


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
    changes = [(NOVEMBER.start + timedelta(microseconds=cut), None) for cut in sorted([0, *cuts])]
    written = {"currency": currency, "base_fee": str(fee)}
    tariff = Tariff(currency, base_fee=parse_major(str(fee), currency))
    for part in parts_of(NOVEMBER, changes):
        line = base_fee_line(tariff, part.span, NOVEMBER, "Pro")
        expected = oracle.base_fee(written, part.span.start, part.span.end, (NOVEMBER.start, NOVEMBER.end))
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
