"""Which price wins: exact name, longest literal part, model before token type, input for the kinds of input without a price."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.pricing import Price, Tariff, Tier, price_for
from tollkeeper.domain.pricing.matching import glob_matches, globs_meet, specificity, ties, unreachable


def price(model: str, meter: str = "*") -> Price:
    return Price(model, meter, (Tier(None, Decimal(1)),))


def chosen(prices: list[tuple[str, str]], model: str, meter: str) -> tuple[str, str] | None:
    index = price_for(Tariff("usd", prices=tuple(price(*p) for p in prices)), model, meter)
    return None if index is None else prices[index]


@pytest.mark.parametrize(
    ("prices", "model", "meter", "winner"),
    [
        # exact before glob, though the glob's literal part is as long
        ([("gpt-4o*", "*"), ("gpt-4o", "*")], "gpt-4o", "input", ("gpt-4o", "*")),
        ([("gpt-4o*", "*"), ("gpt-4o", "*")], "gpt-4o-mini", "input", ("gpt-4o*", "*")),
        # the longest literal part, wherever the wildcard stands, and whatever the order of the file
        ([("*", "*"), ("gpt-*", "*"), ("gpt-4o*", "*")], "gpt-4o-mini", "output", ("gpt-4o*", "*")),
        ([("gpt-4o*", "*"), ("gpt-*", "*"), ("*", "*")], "gpt-4o-mini", "output", ("gpt-4o*", "*")),
        ([("gpt-*", "*"), ("*-mini", "*")], "gpt-4o-mini", "output", ("*-mini", "*")),
        ([("?pt-4o", "*"), ("gpt*", "*")], "gpt-4o", "output", ("?pt-4o", "*")),
        # model before token type
        ([("gpt-4o", "*"), ("*", "output")], "gpt-4o", "output", ("gpt-4o", "*")),
        ([("gpt-4o", "*"), ("gpt-4o", "output")], "gpt-4o", "output", ("gpt-4o", "output")),
        # cached input and cache writes without a price of their own are priced as input
        ([("*", "input"), ("*", "output")], "gpt-4o", "cached_input", ("*", "input")),
        ([("*", "input"), ("*", "output")], "gpt-4o", "cache_write", ("*", "input")),
        ([("*", "input"), ("*", "cached_input")], "gpt-4o", "cached_input", ("*", "cached_input")),
        ([("*", "input"), ("*", "cached_input")], "gpt-4o", "cache_write", ("*", "input")),
        # a price of their own for a less specific model is still their own
        ([("gpt-4o", "input"), ("gpt-*", "cached_input")], "gpt-4o", "cached_input", ("gpt-*", "cached_input")),
        # a star for every model is not, where this very model's input has a price
        ([("gpt-4o", "input"), ("gpt-4o", "output"), ("*", "*")], "gpt-4o", "cached_input", ("gpt-4o", "input")),
        ([("gpt-4o", "input"), ("gpt-4o", "output"), ("*", "*")], "llama", "cached_input", ("*", "*")),
        # beside input for the same model, the star covers the rest in so many words
        ([("gpt-4o", "input"), ("gpt-4o", "*")], "gpt-4o", "cached_input", ("gpt-4o", "*")),
        # output has nothing to fall back on
        ([("*", "input")], "gpt-4o", "output", None),
        ([("*", "output")], "gpt-4o", "cached_input", None),
        # a star is for tokens alone
        ([("*", "*")], "gpt-4o", "requests", None),
        ([("*", "*"), ("gpt-*", "requests")], "gpt-4o", "requests", ("gpt-*", "requests")),
        ([("*", "images")], "gpt-4o", "images", ("*", "images")),
        ([("*", "images")], "gpt-4o", "Images", None),
        # case counts
        ([("GPT-4o", "*")], "gpt-4o", "input", None),
        ([("gpt-*", "*")], "claude", "input", None),
        ([], "gpt-4o", "input", None),
    ],
)
def test_the_most_specific_price_wins(
    prices: list[tuple[str, str]], model: str, meter: str, winner: tuple[str, str] | None
) -> None:
    assert chosen(prices, model, meter) == winner


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-*", "*-4o1"),  # gpt-4o1 matches both, four literal characters each
        ("gpt-4?", "gpt-4*"),
        ("*", "**"),
        ("a*b", "*ab"),
    ],
)
def test_two_prices_that_match_something_equally_are_a_tie(one: str, other: str) -> None:
    assert list(ties([price(one), price(other)])) == [(0, 1)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt-4o", "gpt-4o*"),  # exact wins
        ("gpt-*", "*-mini"),  # the longer literal part wins
        ("gpt-*", "o1--*"),  # equally long, but nothing matches both
        ("a?", "a??"),
        ("a?", "b?"),
    ],
)
def test_two_prices_of_which_one_wins_are_no_tie(one: str, other: str) -> None:
    assert list(ties([price(one), price(other)])) == []


def test_prices_for_different_meters_never_tie() -> None:
    assert list(ties([price("*", "input"), price("*", "*"), price("*", "requests")])) == []


def test_a_star_beside_prices_for_all_four_token_types_can_never_match() -> None:
    four = [price("gpt-4o", kind) for kind in ("input", "cached_input", "cache_write", "output")]
    assert unreachable([*four, price("gpt-4o", "*"), price("*", "*")]) == (4,)
    assert unreachable([*four[1:], price("gpt-4o", "*")]) == ()


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "", True),
        ("", "", True),
        ("?", "", False),
        ("a*", "a", True),
        ("*a", "ba", True),
        ("*a", "ab", False),
        ("a*b*c", "axxbyyc", True),
        ("a*b*c", "axxbyy", False),
        ("*.*", "a.b", True),
        ("a.c", "abc", False),  # a dot is a dot
        ("a\\d", "a1", False),
    ],
)
def test_a_glob_matches_the_whole_name(pattern: str, name: str, matches: bool) -> None:
    assert glob_matches(pattern, name) is matches


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_globs_match_as_the_equal_regular_expression_does(pattern: str, name: str) -> None:
    regular = pattern.replace("*", ".*").replace("?", ".")
    assert glob_matches(pattern, name) is (re.fullmatch(regular, name) is not None)


@given(st.text("ab*?", max_size=5), st.text("ab*?", max_size=5))
def test_globs_meet_if_and_only_if_some_name_matches_both(one: str, other: str) -> None:
    names = [""]
    for _ in range(10):  # no shortest common name is longer than both patterns together
        names += [name + letter for name in names if len(name) == len(names[-1]) for letter in "ab"]
    met = any(glob_matches(one, name) and glob_matches(other, name) for name in names)
    assert globs_meet(one, other) is met


def test_a_hostile_name_costs_no_more_than_its_length_times_the_pattern_s() -> None:
    pattern, name = "*a" * 100 + "b", "a" * 255
    assert glob_matches(pattern, name) is False


def test_exact_names_are_more_specific_than_any_glob() -> None:
    assert specificity("a") > specificity("aaaaaaaa*")
    assert specificity("aaa*") > specificity("a*a?")


def test_the_memory_for_model_names_does_not_grow_without_bound() -> None:
    tariff = Tariff("usd", prices=(price("*"),))
    for number in range(10_000):
        assert price_for(tariff, f"model-{number}", "input") == 0
    assert len(tariff._memo) <= 4096
