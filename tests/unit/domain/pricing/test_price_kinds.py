"""What each kind of price makes of a quantity: tables with the hand sum beside each row. Amounts are US cents."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.pricing import Bill, Price, Tariff, Tier, rate


def bill(price: Price, quantity: Decimal | int, currency: str = "usd") -> Bill:
    return rate(Tariff(currency, prices=(price,)), {("gpt-4o", price.meter): quantity})


def lines(price: Price, quantity: Decimal | int, currency: str = "usd") -> list[tuple[int | None, str, int]]:
    return [(line.tier, f"{line.quantity:f}", line.amount) for line in bill(price, quantity, currency).lines]


def tiers(*rows: tuple[int | None, str] | tuple[int | None, str, str]) -> tuple[Tier, ...]:
    return tuple(Tier(row[0], Decimal(row[1]), Decimal(row[2] if len(row) > 2 else "0")) for row in rows)


# 0.3 cents per 1,000 to a million, the first 100,000 free, 0.2 cents per 1,000 after that.
GRADUATED = Price("*", "output", tiers((100_000, "0"), (1_000_000, "0.3"), (None, "0.2")), per=1_000)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (0, []),  # nothing used, no line
        (1, [(0, "1", 0)]),  # free
        (100_000, [(0, "100000", 0)]),  # the bound belongs to the free tier
        (100_001, [(0, "100000", 0), (1, "1", 0)]),  # 1 × 0.0003 = 0.0003, rounds to 0
        (101_666, [(0, "100000", 0), (1, "1666", 0)]),  # 1,666 × 0.0003 = 0.4998, just below the half
        (101_667, [(0, "100000", 0), (1, "1667", 1)]),  # 1,667 × 0.0003 = 0.5001, just above it
        (1_000_000, [(0, "100000", 0), (1, "900000", 270)]),  # 900 × 0.3 = 270
        (1_000_001, [(0, "100000", 0), (1, "900000", 270), (2, "1", 0)]),  # 270 + 0.0002
        (1_002_500, [(0, "100000", 0), (1, "900000", 270), (2, "2500", 1)]),  # 2.5 × 0.2 = 0.5, away from zero
        # 10^15 - 10^6 = 999,999,999,000,000; that by 1,000 × 0.2 = 199,999,999,800
        (10**15, [(0, "100000", 0), (1, "900000", 270), (2, "999999999000000", 199_999_999_800)]),
    ],
)
def test_graduated_prices_each_slice_at_its_own_tier(quantity: int, expected: list[tuple[int, str, int]]) -> None:
    assert lines(GRADUATED, quantity) == expected


# 2 cents each for the first ten, 1 cent each for the next ninety, half a cent beyond, with fees of 5 and 7 cents.
WITH_FEES = Price("*", "output", tiers((10, "2", "5"), (100, "1"), (None, "0.5", "7")))


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (0, []),  # a flat fee is never charged at quantity 0, the first tier's neither
        (1, [(0, "1", 7)]),  # 2 + 5
        (10, [(0, "10", 25)]),  # 10 × 2 + 5
        (11, [(0, "10", 25), (1, "1", 1)]),
        (100, [(0, "10", 25), (1, "90", 90)]),
        (101, [(0, "10", 25), (1, "90", 90), (2, "1", 8)]),  # 0.5 + 7 = 7.5, away from zero
        (102, [(0, "10", 25), (1, "90", 90), (2, "2", 8)]),  # 2 × 0.5 + 7
    ],
)
def test_a_flat_fee_is_added_once_when_its_tier_is_entered(quantity: int, expected: list[tuple[int, str, int]]) -> None:
    assert lines(WITH_FEES, quantity) == expected


VOLUME = Price("*", "output", tiers((100, "3", "1"), (1_000, "2"), (None, "4", "50")), mode="volume")


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (0, []),
        (1, [(0, "1", 4)]),  # 3 + 1
        (100, [(0, "100", 301)]),  # 100 × 3 + 1
        (101, [(1, "101", 202)]),  # all 101 at 2: the bill falls, and the first tier's fee is not this tier's
        (1_000, [(1, "1000", 2_000)]),
        (1_001, [(2, "1001", 4_054)]),  # all 1,001 at 4, + 50: the bill leaps
        (10**15, [(2, "1000000000000000", 4_000_000_000_000_050)]),
    ],
)
def test_volume_prices_everything_at_the_tier_reached(quantity: int, expected: list[tuple[int, str, int]]) -> None:
    assert lines(VOLUME, quantity) == expected


PACKAGE = Price("*", "output", tiers((None, "25", "3")), per=1_000, round_up=True)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (0, []),
        (1, [(0, "1", 28)]),  # one package begun: 25 + 3
        (1_000, [(0, "1000", 28)]),  # one package, full
        (1_001, [(0, "1001", 53)]),  # two packages: 50 + 3
        (10**15, [(0, "1000000000000000", 25_000_000_000_003)]),  # 10^12 packages
    ],
)
def test_packages_are_rounded_up_on_the_total(quantity: int, expected: list[tuple[int, str, int]]) -> None:
    assert lines(PACKAGE, quantity) == expected


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        ("0.5", 1),  # 0.5 × 1.5 = 0.75
        ("0.333333333", 0),  # × 1.5 = 0.4999999995
        ("0.333333334", 1),  # × 1.5 = 0.500000001
        ("1", 2),  # 1.5
        ("33.3", 50),  # 49.95
    ],
)
def test_per_unit_takes_fractions_of_a_unit(quantity: str, amount: int) -> None:
    minutes = Price("*", "compute_minutes", tiers((None, "1.5")))
    assert lines(minutes, Decimal(quantity)) == [(0, quantity, amount)]


def test_a_fraction_beyond_a_bound_belongs_to_the_next_tier() -> None:
    minutes = Price("*", "compute_minutes", tiers((10, "100"), (None, "10")))
    # 10 × 100 and 0.25 × 10 = 2.5
    assert lines(minutes, Decimal("10.25")) == [(0, "10", 1_000), (1, "0.25", 3)]


def test_a_begun_fraction_of_a_package_is_a_whole_package() -> None:
    minutes = Price("*", "compute_minutes", tiers((None, "10")), per=60, round_up=True)
    assert lines(minutes, Decimal("60.000000001")) == [(0, "60.000000001", 20)]


def test_one_tier_is_per_unit_whatever_the_mode_says() -> None:
    for mode in ("graduated", "volume"):
        assert Price("*", "output", tiers((None, "2")), mode=mode).kind == "per_unit"


def test_a_price_per_three_units_is_exact_until_the_line_is_rounded() -> None:
    thirds = Price("*", "output", tiers((None, "1")), per=3)
    # 10^15 / 3 = 333,333,333,333,333 and a third; one more makes two thirds, which round up
    assert bill(thirds, 10**15).exact == Fraction(10**15, 3)
    assert lines(thirds, 10**15) == [(0, "1000000000000000", 333_333_333_333_333)]
    assert lines(thirds, 10**15 + 1) == [(0, "1000000000000001", 333_333_333_333_334)]
    assert bill(thirds, 3).lines[0].unit_amount == Decimal("0.333333333333333333")


@pytest.mark.parametrize(
    ("currency", "quantity", "amount"),
    [
        ("usd", 5, 3),  # 2.5
        ("jpy", 5, 3),  # 2.5, whole yen
        ("kwd", 10, 10),  # 5 fils, half of the last digit that may not be used
        ("kwd", 9, 0),  # 4.5 fils
        ("isk", 100, 100),  # 50 of 100
        ("isk", 99, 0),  # 49.5
        ("ugx", 300, 200),  # 150
        ("ngn", 5, 3),
        ("ghs", 5, 3),
    ],
)
def test_a_line_is_rounded_to_the_currency_s_own_step(currency: str, quantity: int, amount: int) -> None:
    half = Price("*", "output", tiers((None, "0.5")))
    assert lines(half, quantity, currency) == [(0, str(quantity), amount)]


def test_the_total_is_the_sum_of_rounded_lines_not_the_rounded_sum() -> None:
    three = Price("*", "output", tiers((1, "0.5"), (2, "0.5"), (None, "0.5")))
    drafted = bill(three, 3)
    # three lines of half a cent are three cents, though 1.5 would round to 2
    assert (drafted.exact, drafted.usage_amount, drafted.total) == (Fraction(3, 2), 3, 3)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"tiers": ()}, "tiers"),
        ({"tiers": tiers((10, "1"))}, "tiers"),
        ({"tiers": tiers((None, "1"), (None, "1"))}, "tiers"),
        ({"tiers": tiers((10, "1"), (10, "1"), (None, "1"))}, "tiers"),
        ({"tiers": tiers((0, "1"), (None, "1"))}, "tiers"),
        ({"tiers": tiers((None, "-1"))}, "tiers"),
        ({"tiers": tiers((None, "NaN"))}, "tiers"),
        ({"tiers": tiers((None, "Infinity"))}, "tiers"),
        ({"tiers": tiers((None, "1", "-1"))}, "tiers"),
        ({"tiers": tiers((10, "1"), (None, "1")), "round_up": True}, "round_up"),
        ({"tiers": tiers((None, "1")), "per": 0}, "per"),
    ],
)
def test_a_price_that_makes_no_sense_cannot_be_made(bad: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        Price("*", "output", **bad)  # type: ignore[arg-type] # a table of bad arguments
    assert refusal.value.field == field
