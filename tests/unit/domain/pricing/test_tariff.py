"""A tariff and its JSON form."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.pricing import Price, Tariff, Tier

TARIFF = Tariff(
    "kwd",
    interval="anniversary",
    base_fee=99_000,
    included_tokens=2**63 - 1,
    minimum=1,
    maximum=10**12,
    discount_percent=Decimal("33.333"),
    trial_days=14,
    prices=(
        Price(
            "gpt-4o*", "*", (Tier(10, Decimal("0.00000000000015")), Tier(None, Decimal("1E+3"), Decimal("0.5"))), per=7
        ),
        Price("*", "images", (Tier(None, Decimal(3)),), per=60, round_up=True, stripe_meter="pictures"),
        Price("llama", "output", (Tier(1, Decimal(3)), Tier(None, Decimal(2))), mode="volume"),
    ),
)


def test_a_tariff_comes_back_from_json_as_it_was() -> None:
    assert Tariff.from_json(json.loads(json.dumps(TARIFF.to_json()))) == TARIFF


def test_no_number_with_decimals_is_a_json_number() -> None:
    def no_float(text: str) -> float:
        raise AssertionError(text)

    json.loads(json.dumps(TARIFF.to_json()), parse_float=no_float)


def test_two_tariffs_with_different_histories_are_equal() -> None:
    asked, fresh = Tariff("usd", prices=TARIFF.prices), Tariff("usd", prices=TARIFF.prices)
    asked.price_of(("gpt-4o", "input"))
    assert asked == fresh


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in TARIFF.to_json().items() if name != key}


@pytest.mark.parametrize(
    "broken",
    [
        {},
        without("prices"),
        {**TARIFF.to_json(), "colour": "red"},
        {**TARIFF.to_json(), "base_fee": -1},
        {**TARIFF.to_json(), "base_fee": 1.5},
        {**TARIFF.to_json(), "base_fee": "1"},
        {**TARIFF.to_json(), "base_fee": True},
        {**TARIFF.to_json(), "base_fee": 2**63},
        {**TARIFF.to_json(), "base_fee": None},
        {**TARIFF.to_json(), "currency": "xyz"},
        {**TARIFF.to_json(), "interval": "week"},
        {**TARIFF.to_json(), "maximum": 0},
        {**TARIFF.to_json(), "discount_percent": "100.1"},
        {**TARIFF.to_json(), "discount_percent": "NaN"},
        {**TARIFF.to_json(), "discount_percent": 10},
        {**TARIFF.to_json(), "prices": [{"model": "*"}]},
        {**TARIFF.to_json(), "prices": [{**TARIFF.to_json()["prices"][1], "tiers": []}]},
        {
            **TARIFF.to_json(),
            "prices": [{**TARIFF.to_json()["prices"][1], "tiers": [{"up_to": None, "price": 0.3, "flat_fee": "0"}]}],
        },
        {
            **TARIFF.to_json(),
            "prices": [{**TARIFF.to_json()["prices"][1], "tiers": [{"up_to": None, "price": "x", "flat_fee": "0"}]}],
        },
    ],
)
def test_json_that_is_no_tariff_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Tariff.from_json(broken)


@pytest.mark.parametrize(
    ("meter", "stripe_meter", "event_name"),
    [
        ("*", None, "ai_tokens"),
        ("cached_input", None, "ai_tokens"),
        ("requests", None, "requests"),
        ("images", None, "images"),
        ("output", "big_tokens", "big_tokens"),
    ],
)
def test_a_price_is_reported_under_its_own_name_or_the_usual_one(
    meter: str, stripe_meter: str | None, event_name: str
) -> None:
    assert Price("*", meter, (Tier(None, Decimal(1)),), stripe_meter=stripe_meter).event_name == event_name
