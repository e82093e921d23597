"""What plans need at Stripe: prices that charge the same there as here, or a reason why there are none."""

from __future__ import annotations

from typing import Any

import pytest

from tollkeeper.domain.plan import Plan
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.payments.catalog import PlanUnfit, product_id, wanted_by

HEAD = '[plans.pro]\nname = "Pro"\ncurrency = "usd"\n'


def plan(text: str, head: str = HEAD) -> Plan:
    [found] = parse_plans(head + text)
    return found


def price(text: str, head: str = HEAD) -> dict[str, Any]:
    [wanted] = wanted_by(plan(f"[[plans.pro.prices]]\n{text}", head)).prices
    return wanted.params


def test_tiers_keep_their_bounds_and_cost_what_one_unit_costs() -> None:
    params = price(
        'per = 1_000\ntiers = [{up_to = 100_000, price = "0"}, {up_to = 1_000_000, price = "0.003"}, '
        '{up_to = "inf", price = "0.002", flat_fee = "5.00"}]'
    )
    assert (params["billing_scheme"], params["tiers_mode"]) == ("tiered", "graduated")
    # $0.003 a thousand are 0.3 cents a thousand, 0.0003 cents each
    assert params["tiers"] == [
        {"up_to": 100_000, "unit_amount_decimal": "0"},
        {"up_to": 1_000_000, "unit_amount_decimal": "0.0003"},
        {"up_to": "inf", "unit_amount_decimal": "0.0002", "flat_amount_decimal": "500"},
    ]


def test_included_tokens_come_before_the_first_tier() -> None:
    params = price('price = "0.01"', HEAD + "included_tokens = 500\n")
    assert params["tiers"] == [
        {"up_to": 500, "unit_amount_decimal": "0"},
        {"up_to": "inf", "unit_amount_decimal": "1"},
    ]


def test_packages_are_rounded_up_by_stripe_without_tiers() -> None:
    params = price('price = "0.50"\nper = 1_000\nround_up = true')
    assert params["transform_quantity"] == {"divide_by": 1_000, "round": "up"}
    assert params["unit_amount_decimal"] == "50"
    assert "tiers" not in params


def test_a_base_fee_is_a_price_of_its_own_without_a_meter() -> None:
    wanted = wanted_by(plan('base_fee = "99.00"\n[[plans.pro.prices]]\nprice = "0.01"\n'))
    base, tokens = wanted.prices
    assert (base.lookup_key, base.meter, base.params["unit_amount"]) == ("tollkeeper:pro:base", None, 9_900)
    assert (tokens.lookup_key, tokens.meter, wanted.meters) == ("tollkeeper:pro:ai_tokens", "ai_tokens", ("ai_tokens",))


@pytest.mark.parametrize(("interval", "at_stripe"), [("month", "month"), ("anniversary", "month"), ("year", "year")])
def test_it_recurs_as_our_periods_do(interval: str, at_stripe: str) -> None:
    assert price('price = "1"', f'{HEAD}interval = "{interval}"\n')["recurring"]["interval"] == at_stripe


def test_whatever_decides_what_it_charges_changes_the_fingerprint() -> None:
    one, other = (wanted_by(plan(f'[[plans.pro.prices]]\nprice = "{amount}"')).prices[0] for amount in ("1", "2"))
    assert one.lookup_key == other.lookup_key
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('minimum = "5.00"\n[[plans.pro.prices]]\nprice = "1"', "no minimum"),
        ('maximum = "5.00"\n[[plans.pro.prices]]\nprice = "1"', "no maximum"),
        ('discount_percent = "10"\n[[plans.pro.prices]]\nprice = "1"', "discount"),
        ('trial_days = 7\n[[plans.pro.prices]]\nprice = "1"', "trial"),
        ("", "no price and no fee"),
        (
            '[[plans.pro.prices]]\ntoken_type = "input"\nprice = "1"\n'
            '[[plans.pro.prices]]\ntoken_type = "output"\nprice = "2"',
            "share the meter",
        ),
        ('[[plans.pro.prices]]\nprice = "1"\nper = 3', "more decimals"),
        ('[[plans.pro.prices]]\ntiers = [{up_to = "inf", price = "1", flat_fee = "2"}]', "flat fee in its first tier"),
        (
            'included_tokens = 5\n[[plans.pro.prices]]\nprice = "1"\nper = 10\nround_up = true',
            "package prices cannot leave out",
        ),
        (
            'included_tokens = 5\n[[plans.pro.prices]]\nmodel = "a"\nprice = "1"\nstripe_meter = "a"\n'
            '[[plans.pro.prices]]\nmodel = "b"\nprice = "1"\nstripe_meter = "b"',
            "for several prices",
        ),
    ],
)  # fmt: skip
def test_what_stripes_meters_cannot_charge_is_said_and_not_approximated(text: str, reason: str) -> None:
    with pytest.raises(PlanUnfit, match=reason):
        wanted_by(plan(text))


def test_plans_whose_names_differ_only_by_a_dot_are_different_products() -> None:
    assert product_id("pro") == "tollkeeper_pro"
    assert len({product_id("a.b"), product_id("a_b"), product_id("a.b.c")}) == 3
