"""The order of allowance, price, discount, maximum and minimum. Amounts are US cents."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tollkeeper.domain.money import AmountTooLarge
from tollkeeper.domain.pricing import Price, Tariff, Tier, rate, usage_amount
from tollkeeper.domain.pricing.steps import STEPS
from tollkeeper.domain.usage import Quantities


def cents(meter: str, price: str, *more: Tier) -> Price:
    return Price("*", meter, (*more, Tier(None, Decimal(price))))


def amounts(tariff: Tariff, totals: dict[Any, Any], **options: int) -> list[tuple[str, int]]:
    return [(line.kind, line.amount) for line in rate(tariff, totals, **options).lines]


OUTPUT = {("gpt-4o", "output"): 1_000}


def test_the_order_is_allowance_price_discount_maximum_minimum_and_each_has_its_reason() -> None:
    assert [step.name for step in STEPS] == ["included", "price", "discount", "maximum", "minimum"]
    assert all(step.reason for step in STEPS)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, [("usage", 1_000)]),
        ({"included_tokens": 400}, [("usage", 600)]),
        ({"included_tokens": 1_000}, []),  # all of it included: nothing to charge, no line
        ({"discount_percent": Decimal(10)}, [("usage", 1_000), ("adjustment", -100)]),
        ({"discount_percent": Decimal(100)}, [("usage", 1_000), ("adjustment", -1_000)]),
        ({"discount_percent": Decimal("0.05")}, [("usage", 1_000), ("adjustment", -1)]),  # 0.5 off, away from zero
        ({"discount_percent": Decimal("0.04")}, [("usage", 1_000)]),  # 0.4 off is nothing, and no line
        ({"maximum": 999}, [("usage", 1_000), ("adjustment", -1)]),
        ({"maximum": 1_000}, [("usage", 1_000)]),
        ({"minimum": 1_000}, [("usage", 1_000)]),
        ({"minimum": 1_001}, [("usage", 1_000), ("adjustment", 1)]),
        # 1,000 - 100 = 900 is what the maximum bounds: 900 stays
        ({"discount_percent": Decimal(10), "maximum": 950}, [("usage", 1_000), ("adjustment", -100)]),
        # 900 is lifted to 950: the discount does not eat the minimum up
        (
            {"discount_percent": Decimal(10), "minimum": 950},
            [("usage", 1_000), ("adjustment", -100), ("adjustment", 50)],
        ),
        # (1,000 - 400) × 0.9 = 540, at most 500, at least 500
        (
            {"included_tokens": 400, "discount_percent": Decimal(10), "maximum": 500, "minimum": 500},
            [("usage", 600), ("adjustment", -60), ("adjustment", -40)],
        ),
    ],
)
def test_each_step_makes_at_most_one_line_of_its_own(terms: dict[str, Any], expected: list[tuple[str, int]]) -> None:
    assert amounts(Tariff("usd", prices=(cents("*", "1"),), **terms), OUTPUT) == expected


def test_the_spend_that_a_cap_is_measured_against_is_the_usage_lines_alone() -> None:
    tariff = Tariff("usd", prices=(cents("*", "1"),), discount_percent=Decimal(50), minimum=9_000)
    bill = rate(tariff, OUTPUT)
    assert (bill.usage_amount, bill.total) == (1_000, 9_000)
    assert usage_amount(tariff, OUTPUT) == 1_000


def test_included_tokens_come_off_before_the_tiers_so_they_move_nobody_up_a_tier() -> None:
    tiered = Tariff("usd", included_tokens=100, prices=(cents("*", "5", Tier(100, Decimal(1))),))
    # 200 used, 100 included: the rest is the first tier's 100 at 1
    assert amounts(tiered, {("gpt-4o", "input"): 150, ("llama", "output"): 50}) == [("usage", 100)]
    # one token more is the second tier's first
    assert amounts(tiered, {("gpt-4o", "input"): 151, ("llama", "output"): 50}) == [("usage", 100), ("usage", 5)]


def test_included_tokens_are_used_up_by_prices_in_the_order_of_the_file() -> None:
    totals = {("gpt-4o", "input"): 300, ("gpt-4o", "output"): 300}
    input_first = Tariff("usd", included_tokens=400, prices=(cents("input", "1"), cents("output", "4")))
    output_first = Tariff("usd", included_tokens=400, prices=(cents("output", "4"), cents("input", "1")))
    assert amounts(input_first, totals) == [("usage", 800)]  # 300 input and 100 output free: 200 × 4
    assert amounts(output_first, totals) == [("usage", 200)]  # 300 output and 100 input free: 200 × 1
    assert rate(input_first, totals).included == {0: 300, 1: 100}


def test_minutes_requests_and_own_units_do_not_use_the_allowance_up() -> None:
    prices = (cents("requests", "1"), cents("compute_minutes", "1"), cents("images", "1"), cents("*", "1"))
    totals = {("m", "requests"): 5, ("m", "compute_minutes"): Decimal("2.5"), ("m", "images"): 3, ("m", "input"): 10}
    # 5, 2.5 rounded to 3, 3, and 10 - 4
    expected = [("usage", 5), ("usage", 3), ("usage", 3), ("usage", 6)]
    assert amounts(Tariff("usd", included_tokens=4, prices=prices), totals) == expected


def test_tokens_without_a_price_use_nothing_of_the_allowance_and_are_named() -> None:
    tariff = Tariff("usd", included_tokens=10, prices=(Price("gpt-*", "*", (Tier(None, Decimal(1)),)),))
    bill = rate(tariff, {("llama", "input"): 10, ("llama", "requests"): 1, ("gpt-4o", "input"): 11, ("x", "output"): 0})
    assert bill.unpriced == (("llama", "input"),)
    assert bill.usage_amount == 1


def test_granted_tokens_come_on_top_of_the_plan_s_own_allowance() -> None:
    tariff = Tariff("usd", included_tokens=400, prices=(cents("*", "1"),))
    assert amounts(tariff, OUTPUT, granted_tokens=100) == [("usage", 500)]
    assert usage_amount(tariff, OUTPUT, granted_tokens=100) == 500


def test_models_of_one_price_share_its_tiers() -> None:
    tariff = Tariff("usd", prices=(cents("*", "0", Tier(10, Decimal(1))),))
    assert amounts(tariff, {("a", "input"): 6, ("b", "output"): 6}) == [("usage", 10), ("usage", 0)]


def test_a_discount_in_a_currency_with_steps_stays_on_the_steps() -> None:
    dinar = Tariff("kwd", discount_percent=Decimal(10), prices=(cents("*", "1"),))
    # 1,050 fils, 105 off, rounded to 110
    assert amounts(dinar, {("m", "input"): 1_050}) == [("usage", 1_050), ("adjustment", -110)]


def test_a_bill_past_64_bits_is_refused() -> None:
    tariff = Tariff("usd", prices=(cents("*", "1"),))
    assert rate(tariff, {("m", "input"): 2**63 - 1}).total == 2**63 - 1
    with pytest.raises(AmountTooLarge):
        rate(tariff, {("m", "input"): 2**63})
    with pytest.raises(AmountTooLarge):
        usage_amount(tariff, {("m", "input"): 2**63})


def test_lines_that_each_fit_but_not_together_are_refused() -> None:
    tariff = Tariff("usd", prices=(cents("input", "1"), cents("output", "1")))
    with pytest.raises(AmountTooLarge):
        rate(tariff, {("m", "input"): 2**62, ("m", "output"): 2**62})


def test_a_line_says_what_it_is_in_words() -> None:
    tariff = Tariff(
        "usd",
        minimum=500,
        discount_percent=Decimal("12.5"),
        prices=(
            Price("gpt-4o*", "*", (Tier(1_000, Decimal(0)), Tier(None, Decimal("0.3"), Decimal(250))), per=1_000),
            Price("*", "compute_minutes", (Tier(None, Decimal(10)),), per=60, round_up=True),
            Price("llama", "cached_input", (Tier(None, Decimal("0.00015")),)),
        ),
    )
    totals: Quantities = {
        ("gpt-4o", "input"): 1_500,
        ("llama", "compute_minutes"): Decimal("61.5"),
        ("llama", "cached_input"): 7,
    }
    assert [line.description for line in rate(tariff, totals).lines] == [
        "gpt-4o*, all tokens: 1,000 at $0.00 per 1,000 (tier 1, to 1,000)",
        "gpt-4o*, all tokens: 500 at $0.003 per 1,000 and $2.50 once (tier 2, from 1,001)",
        "all models, compute minutes: 61.5 at $0.10 per begun 60",
        "llama, cached input tokens: 7 at $0.0000015",
        "Discount of 12.5 %",
        "Minimum charge of $5.00",
    ]


def test_a_maximum_says_so_in_words() -> None:
    tariff = Tariff("eur", maximum=500, prices=(cents("*", "1"),))
    assert [line.description for line in rate(tariff, OUTPUT).lines][1:] == ["Usage costs at most €5.00"]
