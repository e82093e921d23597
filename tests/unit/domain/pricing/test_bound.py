"""What a request can add at most. Amounts are US cents."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.pricing import Price, Tariff, Tier, upper_bound


def price(meter: str, *tiers: tuple[int | None, str] | tuple[int | None, str, str], **more: Any) -> Price:
    rows = tuple(Tier(row[0], Decimal(row[1]), Decimal(row[2] if len(row) > 2 else "0")) for row in tiers)
    return Price(more.pop("model", "*"), meter, rows, **more)


def bound(prices: tuple[Price, ...], tokens_in: int, tokens_out: int, model: str | None = "m", **more: Any) -> Decimal:
    included = more.pop("included_tokens", 0)
    return upper_bound(Tariff("usd", prices=prices, included_tokens=included), model, tokens_in, tokens_out, **more)


BY_TYPE = (price("input", (None, "1")), price("cached_input", (None, "0.1")), price("cache_write", (None, "1.25")))
GRADUATED = price("*", (100, "1"), (1_000, "3", "50"), (None, "2", "7"))
FALLING = price("*", (100, "3", "5"), (None, "2", "6"), mode="volume")
RISING = price("*", (100, "2"), (None, "3"), mode="volume")


def test_all_input_counts_at_the_dearest_kind_of_input() -> None:
    # 10 × 1.25, though most of it may turn out to be cached; output has no price here
    assert bound(BY_TYPE, 10, 1_000) == Decimal("12.5")


def test_one_request_is_added_where_requests_have_a_price() -> None:
    assert bound((price("requests", (None, "7")), price("*", (None, "1"))), 2, 3) == 12


def test_minutes_and_own_units_count_as_far_as_they_are_known() -> None:
    prices = (price("compute_minutes", (None, "2")), price("images", (None, "5")))
    assert bound(prices, 0, 0, compute_minutes=Decimal("1.5"), units={"images": 2, "pages": 9}) == 13


@pytest.mark.parametrize(
    ("totals", "expected"),
    [
        (None, 10 * 3 + 50 + 7),  # anywhere: the dearest tier and every fee that may come
        ({}, 10 * 3 + 50 + 7),
        ({("m", "input"): 100}, 10 * 3 + 50 + 7),  # the first tier is used up, the second not entered
        ({("m", "input"): 101}, 10 * 3 + 7),  # its fee is charged already
        ({("m", "input"): 999}, 10 * 3 + 7),
        ({("m", "input"): 1_000}, 10 * 2 + 7),  # the dear tier lies behind
        ({("m", "input"): 1_001}, 10 * 2),
    ],
)
def test_a_graduated_price_is_held_at_the_dearest_tier_ahead(totals: dict[Any, int] | None, expected: int) -> None:
    assert bound((GRADUATED,), 4, 6, totals=totals) == expected


@pytest.mark.parametrize(
    ("price", "totals", "expected"),
    [
        (FALLING, None, 10 * 3 + 5),  # reaching the cheaper tier only lowers the bill
        (FALLING, {("m", "input"): 1}, 10 * 3),
        (FALLING, {("m", "input"): 101}, 10 * 2),
        (RISING, None, 10 * 3 + 100),  # at 101 the first hundred cost 1 more each
        (RISING, {("m", "input"): 100}, 10 * 3 + 100),
        (RISING, {("m", "input"): 101}, 10 * 3),
    ],
)
def test_a_volume_price_is_held_with_the_leap_that_is_still_ahead(
    price: Price, totals: dict[Any, int] | None, expected: int
) -> None:
    assert bound((price,), 4, 6, totals=totals) == expected


def test_a_flat_fee_is_held_until_the_first_unit_was_used() -> None:
    flat = (price("*", (None, "1", "9")),)
    assert bound(flat, 2, 0) == 11
    assert bound(flat, 2, 0, totals={}) == 11
    assert bound(flat, 2, 0, totals={("m", "output"): 1}) == 2
    package = (price("*", (None, "1", "9"), round_up=True),)
    assert bound(package, 2, 0, totals={("m", "output"): 1}) == 2


def test_a_package_is_held_with_what_may_be_left_empty_of_it() -> None:
    package = price("*", (None, "10"), per=5, round_up=True)
    # one token can begin a package of 5; 2 cents a token, 4 may stay empty
    assert bound((package,), 1, 0) == 10
    assert bound((package,), 5, 0) == 18


def test_a_model_that_nobody_knows_is_the_dearest_of_all() -> None:
    prices = (price("*", (None, "1"), model="small"), price("*", (None, "9"), model="large"))
    assert bound(prices, 1, 1, model=None) == 18
    assert bound(prices, 1, 1, model="small") == 2
    assert bound(prices, 1, 1, model="unheard of") == 0


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, 10),  # nothing known: the allowance counts as used up
        ({"totals": {}}, 0),
        ({"totals": {("m", "input"): 90}}, 0),  # just the ten that are left
        ({"totals": {("m", "input"): 91}}, 1),
        ({"totals": {("m", "input"): 85}, "held_tokens": 6}, 1),  # others may take six of the fifteen
        ({"totals": {("m", "input"): 91}, "granted_tokens": 1}, 0),
        ({"tokens_used": 90}, 0),
        ({"tokens_used": 95}, 5),
        ({"tokens_used": 500}, 10),
    ],
)
def test_tokens_that_are_still_included_are_not_held_for(known: dict[str, Any], expected: int) -> None:
    assert bound((price("*", (None, "1")),), 4, 6, included_tokens=100, **known) == expected


def test_what_is_included_comes_off_the_cheapest_tokens_first() -> None:
    prices = (price("output", (None, "4")), price("input", (None, "1")))
    # 8 of 10 are free, and the two that are not may be output
    assert bound(prices, 5, 5, included_tokens=8, totals={}) == 8


def test_a_cheap_token_is_held_at_the_price_of_those_it_may_take_the_allowance_from() -> None:
    prices = (price("input", (None, "1")), price("output", (None, "4")))
    used = {("m", "output"): 100}
    assert bound(prices, 1, 0, included_tokens=100, totals=used) == 4
    # once the input alone has used the allowance up, there is nothing to take
    assert bound(prices, 1, 0, included_tokens=100, totals={("m", "input"): 100, **used}) == 1


def test_a_bound_is_rounded_up() -> None:
    # a third of a cent, up in its last place, and one more because a running cost is a difference of two rounded sums
    assert bound((price("*", (None, "1"), per=3),), 1, 0) == Decimal("0.333333333335")


@pytest.mark.parametrize("counts", [(-1, 0), (0, -1)])
def test_a_negative_count_is_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput):
        bound(BY_TYPE, *counts)
