"""What an event adds to the bill at its position; the parts add up to the whole in any order. Amounts are US cents."""

from __future__ import annotations

from decimal import Decimal
from itertools import permutations

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.pricing import Price, Tariff, Tier, rate, running_cost
from tollkeeper.domain.usage import Key, Quantities

KEY: Key = ("gpt-4o", "output")


def tariff(*tiers: tuple[int | None, str], **more: object) -> Tariff:
    price = Price("*", "*", tuple(Tier(up_to, Decimal(price)) for up_to, price in tiers), **more)  # type: ignore[arg-type] # passed on
    return Tariff("usd", prices=(price,))


@pytest.mark.parametrize(
    ("before", "added", "cost"),
    [
        (0, 100_000, "0"),  # the free tier
        (99_999, 1, "0"),
        (100_000, 1, "0.0003"),
        (99_999, 2, "0.0003"),  # one free, one not
        (999_999, 2, "0.0005"),  # 0.0003 + 0.0002
        (0, 1_500_000, "370"),  # 900 × 0.3 + 500 × 0.2
        (10**15, 1, "0.0002"),
    ],
)
def test_an_event_costs_what_it_adds_at_its_position_in_the_tiers(before: int, added: int, cost: str) -> None:
    graduated = tariff((100_000, "0"), (1_000_000, "0.3"), (None, "0.2"), per=1_000)
    assert running_cost(graduated, {KEY: before}, {KEY: added}) == Decimal(cost)


def test_an_event_can_lower_the_bill_where_a_volume_price_falls() -> None:
    volume = tariff((100, "3"), (None, "2"), mode="volume")
    # 101 × 2 - 100 × 3
    assert running_cost(volume, {KEY: 100}, {KEY: 1}) == -98


def test_the_sum_is_the_unrounded_bill_whatever_the_order_of_arrival() -> None:
    graduated = tariff((10, "0.007"), (100, "0.003"), (None, "0.0005"))
    events = [("a", "input", 7), ("b", "output", 95), ("a", "output", 1), ("a", "input", 12_345)]
    whole = rate(graduated, {("a", "input"): 12_352, ("a", "output"): 1, ("b", "output"): 95})
    for order in permutations(events):
        totals: Quantities = {}
        spent = Decimal(0)
        for model, meter, count in order:
            spent += running_cost(graduated, totals, {(model, meter): count})
            totals[model, meter] = totals.get((model, meter), 0) + count
        # 10 × 0.007 + 90 × 0.003 + 12,348 × 0.0005
        assert spent == whole.exact == Decimal("6.514")


def test_thirds_of_a_cent_add_up_to_the_cent() -> None:
    thirds = tariff((None, "1"), per=3)
    steps = [running_cost(thirds, {KEY: before}, {KEY: 1}) for before in range(3)]
    assert steps == [Decimal("0.333333333333"), Decimal("0.333333333334"), Decimal("0.333333333333")]
    assert sum(steps) == 1


def test_packages_cost_what_they_cost_when_they_are_begun() -> None:
    package = tariff((None, "25"), per=1_000, round_up=True)
    assert running_cost(package, {}, {KEY: 1}) == 25
    assert running_cost(package, {KEY: 1}, {KEY: 999}) == 0
    assert running_cost(package, {KEY: 1_000}, {KEY: 1}) == 25


def test_tokens_are_free_until_the_allowance_is_used_up() -> None:
    prices = (Price("*", "*", (Tier(None, Decimal(1)),)),)
    included = Tariff("usd", included_tokens=100, prices=prices)
    assert running_cost(included, {KEY: 90}, {KEY: 10}) == 0
    assert running_cost(included, {KEY: 90}, {KEY: 11}) == 1
    assert running_cost(included, {KEY: 90}, {KEY: 11}, granted_tokens=5) == 0


def test_a_token_that_takes_the_allowance_from_a_dearer_one_costs_the_dearer_one() -> None:
    prices = (Price("*", "input", (Tier(None, Decimal(1)),)), Price("*", "output", (Tier(None, Decimal(4)),)))
    included = Tariff("usd", included_tokens=100, prices=prices)
    # the input comes first in the file: it takes the allowance, and one output token has to be paid for
    assert running_cost(included, {("m", "output"): 100}, {("m", "input"): 1}) == 4


def test_what_has_no_price_costs_nothing() -> None:
    nothing = Tariff("usd", prices=(Price("gpt-*", "*", (Tier(None, Decimal(1)),)),))
    assert running_cost(nothing, {}, {("llama", "input"): 5, ("gpt-4o", "requests"): 1}) == 0


def test_a_sum_of_more_digits_than_a_decimal_context_has_is_exact_all_the_same() -> None:
    assert running_cost(tariff((None, "0.000000000001")), {}, {KEY: 10**18 + 1}) == Decimal("1000000.000000000001")
    assert running_cost(tariff((None, "1.000000000001")), {}, {KEY: 10**18 + 1}) == Decimal(
        "1000000000001000001.000000000001"
    )


@pytest.mark.parametrize("quantity", [-1, Decimal(-1), Decimal("NaN"), Decimal("Infinity"), 1.5, True])
def test_no_total_that_is_not_a_quantity_is_priced(quantity: Decimal | int) -> None:
    with pytest.raises(InvalidInput):
        running_cost(tariff((None, "1")), {}, {KEY: quantity})
    with pytest.raises(InvalidInput):
        rate(tariff((None, "1")), {KEY: quantity})
