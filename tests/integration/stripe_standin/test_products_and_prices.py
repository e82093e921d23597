from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import stripe

from tollkeeper.testing import StripeStandIn

Refusal = Callable[..., stripe.InvalidRequestError]

FREE_THEN_PAID: Any = [
    {"up_to": 100_000, "unit_amount_decimal": Decimal(0)},
    {"up_to": 1_000_000, "unit_amount_decimal": Decimal("0.0003")},
    {"up_to": "inf", "unit_amount_decimal": Decimal("0.0002"), "flat_amount": 5},
]
FLAT: Any = {"currency": "usd", "unit_amount": 9900, "product_data": {"name": "Pro"}}
TIERED: Any = {
    "currency": "USD",
    "product_data": {"name": "Tokens"},
    "billing_scheme": "tiered",
    "tiers_mode": "graduated",
    "tiers": FREE_THEN_PAID,
    "expand": ["tiers"],
}


def test_a_product_can_bring_its_own_id_once(client: stripe.StripeClient, refusal: Refusal) -> None:
    product = client.v1.products.create({"id": "tokens", "name": "Tokens"})

    assert (product.id, product.active, product.type) == ("tokens", True, "service")
    error = refusal(lambda: client.v1.products.create({"id": "tokens", "name": "Tokens"}))
    assert error.code == "resource_already_exists"


def test_products_are_changed_listed_and_deleted(client: stripe.StripeClient) -> None:
    kept = client.v1.products.create({"name": "Kept", "description": "x"})
    dropped = client.v1.products.create({"name": "Dropped", "active": False})

    assert client.v1.products.update(kept.id, {"description": ""}).description is None
    assert [one.id for one in client.v1.products.list({"active": True})] == [kept.id]
    assert [one.id for one in client.v1.products.list({"ids": [dropped.id]})] == [dropped.id]
    assert client.v1.products.delete(dropped.id).deleted is True
    assert [one.id for one in client.v1.products.list()] == [kept.id]


def test_a_product_with_prices_cannot_be_deleted(client: stripe.StripeClient, refusal: Refusal) -> None:
    price = client.v1.prices.create(FLAT)

    assert refusal(lambda: client.v1.products.delete(str(price.product))).http_status == 400


def test_a_tiered_metered_price_is_kept_to_the_last_decimal(
    standin: StripeStandIn, client: stripe.StripeClient
) -> None:
    meter = standin.add_meter("ai_tokens")

    price = client.v1.prices.create(
        TIERED | {"recurring": {"interval": "month", "usage_type": "metered", "meter": meter}}
    )

    assert (price.type, price.currency, price.billing_scheme, price.unit_amount) == ("recurring", "usd", "tiered", None)
    assert price.recurring is not None
    assert (price.recurring.meter, price.recurring.usage_type, price.recurring.interval_count) == (meter, "metered", 1)
    assert price.tiers is not None
    assert [(tier.up_to, tier.unit_amount_decimal, tier.flat_amount) for tier in price.tiers] == [
        (100_000, Decimal(0), None),
        (1_000_000, Decimal("0.0003"), None),
        (None, Decimal("0.0002"), 5),
    ]


def test_tiers_are_shown_only_when_they_are_asked_for(client: stripe.StripeClient) -> None:
    price = client.v1.prices.create(TIERED)

    assert "tiers" not in client.v1.prices.retrieve(price.id).to_dict()
    assert len(client.v1.prices.retrieve(price.id, {"expand": ["tiers"]}).tiers or []) == 3
    assert len(client.v1.prices.list({"expand": ["data.tiers"]}).data[0].tiers or []) == 3
    with pytest.raises(stripe.APIError, match="expanding product"):
        client.v1.prices.retrieve(price.id, {"expand": ["product"]})


def test_the_integer_amount_is_null_where_the_decimal_has_a_fraction(client: stripe.StripeClient) -> None:
    whole, broken = (
        client.v1.prices.create(
            {"currency": "usd", "unit_amount_decimal": Decimal(amount), "product_data": {"name": "x"}}
        )
        for amount in ("20", "0.2")
    )

    assert (whole.unit_amount, whole.unit_amount_decimal) == (20, Decimal(20))
    assert (broken.unit_amount, broken.unit_amount_decimal) == (None, Decimal("0.2"))


def test_only_the_labels_of_a_price_change(client: stripe.StripeClient, refusal: Refusal) -> None:
    price = client.v1.prices.create(FLAT)

    changed = client.v1.prices.update(price.id, {"active": False, "nickname": "old", "metadata": {"plan": "pro"}})

    assert (changed.active, changed.nickname, changed.metadata["plan"]) == (False, "old", "pro")
    assert refusal(lambda: client.v1.prices.update(price.id, {"unit_amount": 1})).code == "parameter_unknown"  # type: ignore[arg-type]  # the mistake tested


def test_prices_are_found_by_lookup_key_and_product(client: stripe.StripeClient, refusal: Refusal) -> None:
    found = client.v1.prices.create(FLAT | {"lookup_key": "pro_base"})
    client.v1.prices.create(FLAT)

    assert [one.id for one in client.v1.prices.list({"lookup_keys": ["pro_base"]})] == [found.id]
    assert [one.id for one in client.v1.prices.list({"product": str(found.product)})] == [found.id]
    assert refusal(lambda: client.v1.prices.create(FLAT | {"lookup_key": "pro_base"})).param == "lookup_key"


def without(params: Any, *names: str) -> Any:
    return {name: value for name, value in params.items() if name not in names}


def tiers(*bounds: int | str) -> Any:
    return TIERED | {"tiers": [{"up_to": bound, "unit_amount": 1} for bound in bounds]}


METERED: Any = {"interval": "month", "usage_type": "metered"}


@pytest.mark.parametrize(
    ("params", "param"),
    [
        (without(FLAT, "unit_amount"), "unit_amount"),
        (without(FLAT, "product_data"), "product"),
        (FLAT | {"product": "tokens"}, "product"),
        (without(FLAT, "product_data") | {"product": "prod_nothing"}, "product"),
        (FLAT | {"unit_amount_decimal": Decimal(1)}, "unit_amount"),
        (FLAT | {"tiers": FREE_THEN_PAID}, "billing_scheme"),
        (FLAT | {"tiers_mode": "volume"}, "billing_scheme"),
        (without(TIERED, "tiers"), "tiers"),
        (without(TIERED, "tiers_mode"), "tiers_mode"),
        (TIERED | {"unit_amount": 1}, "unit_amount"),
        (TIERED | {"unit_amount_decimal": Decimal(1)}, "unit_amount_decimal"),
        (TIERED | {"transform_quantity": {"divide_by": 1000, "round": "up"}}, "transform_quantity"),
        (tiers(100), "tiers"),
        (tiers(100, 100, "inf"), "tiers"),
        (tiers(200, 100, "inf"), "tiers"),
        (tiers("inf", "inf"), "tiers"),
        (tiers(0, "inf"), "tiers"),
        (TIERED | {"tiers": [{"up_to": "inf"}]}, "tiers[0][unit_amount]"),
        (TIERED | {"tiers": [{"up_to": "inf", "unit_amount": 1, "unit_amount_decimal": Decimal(1)}]}, "unit_amount"),
        (TIERED | {"tiers": [{"up_to": "inf", "flat_amount": 1, "flat_amount_decimal": Decimal(1)}]}, "flat_amount"),
        (FLAT | {"recurring": METERED}, "recurring[meter]"),
        (FLAT | {"recurring": METERED | {"meter": "mtr_nothing"}}, "recurring[meter]"),
        (FLAT | {"recurring": {"interval": "month", "meter": "mtr_nothing"}}, "recurring[meter]"),
        (FLAT | {"recurring": {"interval": "month", "interval_count": 37}}, "recurring[interval_count]"),
        (FLAT | {"recurring": {"interval": "month", "interval_count": 0}}, "recurring[interval_count]"),
    ],
)
def test_a_price_that_stripe_would_not_take_is_refused(
    client: stripe.StripeClient, refusal: Refusal, params: Any, param: str
) -> None:
    error = refusal(lambda: client.v1.prices.create(params))

    assert (error.http_status, error.param) == (400, param)


@pytest.mark.parametrize(("interval", "longest"), [("day", 1095), ("week", 156), ("month", 36), ("year", 3)])
def test_a_price_recurs_at_least_once_in_three_years(
    client: stripe.StripeClient, refusal: Refusal, interval: Any, longest: int
) -> None:
    def create(count: int) -> stripe.Price:
        return client.v1.prices.create(FLAT | {"recurring": {"interval": interval, "interval_count": count}})

    assert create(longest).type == "recurring"
    assert refusal(lambda: create(longest + 1)).param == "recurring[interval_count]"


def test_a_price_paid_once_has_no_recurrence_and_no_tiers(client: stripe.StripeClient) -> None:
    price = client.v1.prices.create(FLAT | {"expand": ["tiers"]})

    assert (price.type, price.recurring, price.tiers, price.tiers_mode) == ("one_time", None, None, None)


def test_the_smallest_first_tier_holds_one_unit(client: stripe.StripeClient) -> None:
    assert client.v1.prices.create(tiers(1, "inf"))


def test_a_metered_price_needs_a_meter_that_is_active(
    standin: StripeStandIn, client: stripe.StripeClient, refusal: Refusal
) -> None:
    meter = standin.add_meter("ai_tokens")
    client.v1.billing.meters.deactivate(meter)

    error = refusal(lambda: client.v1.prices.create(FLAT | {"recurring": METERED | {"meter": meter}}))

    assert error.param == "recurring[meter]"


@pytest.mark.parametrize(
    "more",
    [
        {"recurring": {"interval": "month", "trial_period_days": 7}},
        {"product_data": {"name": "x", "tax_code": "txcd_10000000"}},
        {"tax_behavior": "exclusive"},
    ],
)
def test_what_the_stand_in_does_not_price_is_a_loud_501(client: stripe.StripeClient, more: Any) -> None:
    with pytest.raises(stripe.APIError) as error:
        client.v1.prices.create(FLAT | more)

    assert error.value.http_status == 501
