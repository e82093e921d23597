"""Rounding happens once, away from zero at the half, and nothing that is not exact gets in."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import (
    BIGINT_MAX,
    AmountTooLarge,
    as_decimal,
    as_number,
    bigint,
    decimal_of,
    exact,
    round_half_away,
)


@pytest.mark.parametrize(
    ("exact", "step", "rounded"),
    [
        ("0", 1, 0),
        ("0.4999999999999999999999999999999999999999", 1, 0),
        ("0.5", 1, 1),
        ("1.5", 1, 2),
        ("2.5", 1, 3),  # banker's rounding would say 2
        ("-0.5", 1, -1),
        ("-2.5", 1, -3),
        ("-2.4", 1, -2),
        ("4.999", 10, 0),
        ("5", 10, 10),
        ("15", 10, 20),
        ("-5", 10, -10),
        ("149", 100, 100),
        ("150", 100, 200),
    ],
)
def test_a_half_goes_away_from_zero(exact: str, step: int, rounded: int) -> None:
    assert round_half_away(Decimal(exact), step) == rounded
    assert round_half_away(Fraction(exact), step) == rounded


@given(st.fractions(), st.sampled_from([1, 10, 100]))
def test_what_is_rounded_is_a_multiple_of_the_step_within_half_a_step(number: Fraction, step: int) -> None:
    rounded = round_half_away(number, step)
    assert rounded % step == 0
    assert abs(rounded - number) <= Fraction(step, 2)
    assert rounded == -round_half_away(-number, step)


@pytest.mark.parametrize(
    "bad",
    [
        1.5,
        True,
        "1",
        None,
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("-Infinity"),
        Decimal("1E-1000000"),
        Decimal("1E+1000000"),
    ],
)
def test_nothing_inexact_is_taken_for_a_number(bad: Any) -> None:
    for function in (exact, round_half_away, as_number, as_decimal):
        with pytest.raises(InvalidInput):
            function(bad)


def test_64_bits_are_the_limit() -> None:
    assert bigint(2**63 - 1) == BIGINT_MAX
    assert bigint(-BIGINT_MAX) == -BIGINT_MAX
    for amount in (2**63, -(2**63)):
        with pytest.raises(AmountTooLarge) as refusal:
            bigint(amount)
        assert refusal.value.amount == amount
    assert AmountTooLarge.code == "amount_too_large"
    assert not AmountTooLarge.transient


@given(st.integers(), st.integers(min_value=0, max_value=30))
def test_a_decimal_of_any_length_is_exact(count: int, places: int) -> None:
    assert Fraction(decimal_of(count, places)) == Fraction(count, 10**places)


def test_a_decimal_has_no_trailing_zeros_behind_the_point() -> None:
    assert str(decimal_of(1_500, 3)) == "1.5"
    assert str(decimal_of(2_000, 3)) == "2"
    assert str(decimal_of(2_000, 0)) == "2000"


def test_a_fraction_without_a_decimal_form_is_rounded_in_its_last_place() -> None:
    assert as_decimal(Fraction(2, 3), 4) == Decimal("0.6667")
    assert as_decimal(Fraction(-2, 3), 4) == Decimal("-0.6667")


def test_a_whole_number_is_an_integer_however_it_comes() -> None:
    for value in (5, Decimal("5.00"), Fraction(5)):
        assert type(as_number(value)) is int
    assert as_number(Decimal("2.5")) == Fraction(5, 2)
