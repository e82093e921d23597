from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import stripe

from tollkeeper.testing import FrozenClock, StripeStandIn

Refusal = Callable[..., stripe.InvalidRequestError]

TOKENS: Any = {"display_name": "Tokens", "event_name": "ai_tokens", "default_aggregation": {"formula": "sum"}}


def test_a_meter_is_created_with_stripes_defaults(client: stripe.StripeClient) -> None:
    meter = client.v1.billing.meters.create(TOKENS)

    assert meter.id.startswith("mtr_")
    assert (meter.status, meter.livemode) == ("active", False)
    assert (meter.customer_mapping.type, meter.customer_mapping.event_payload_key) == ("by_id", "stripe_customer_id")
    assert meter.value_settings.event_payload_key == "value"
    assert client.v1.billing.meters.retrieve(meter.id).to_dict() == meter.to_dict()


def test_an_event_name_has_one_active_meter(client: stripe.StripeClient, refusal: Refusal) -> None:
    first = client.v1.billing.meters.create(TOKENS)
    assert refusal(lambda: client.v1.billing.meters.create(TOKENS)).param == "event_name"

    client.v1.billing.meters.deactivate(first.id)
    client.v1.billing.meters.create(TOKENS)

    assert refusal(lambda: client.v1.billing.meters.reactivate(first.id)).param == "event_name"


def test_only_the_display_name_can_change(clock: FrozenClock, client: stripe.StripeClient, refusal: Refusal) -> None:
    meter = client.v1.billing.meters.create(TOKENS)
    clock.advance(timedelta(seconds=9))

    changed = client.v1.billing.meters.update(meter.id, {"display_name": "All tokens"})

    assert (changed.display_name, changed.updated) == ("All tokens", meter.created + 9)
    error = refusal(lambda: client.v1.billing.meters.update(meter.id, {"event_name": "x"}))  # type: ignore[arg-type]  # the mistake tested
    assert error.code == "parameter_unknown"


def test_deactivating_is_noted_and_can_be_taken_back_once(
    clock: FrozenClock, client: stripe.StripeClient, refusal: Refusal
) -> None:
    meter = client.v1.billing.meters.create(TOKENS)
    clock.advance(timedelta(seconds=9))

    gone = client.v1.billing.meters.deactivate(meter.id)
    assert (gone.status, gone.status_transitions.deactivated_at) == ("inactive", meter.created + 9)
    assert refusal(lambda: client.v1.billing.meters.deactivate(meter.id)).http_status == 400

    back = client.v1.billing.meters.reactivate(meter.id)
    assert (back.status, back.status_transitions.deactivated_at) == ("active", None)
    assert refusal(lambda: client.v1.billing.meters.reactivate(meter.id)).http_status == 400


def test_meters_are_listed_by_status(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    old, new = standin.add_meter("a"), standin.add_meter("b")
    client.v1.billing.meters.deactivate(old)

    assert [one.id for one in client.v1.billing.meters.list({"status": "active"})] == [new]
    assert [one.id for one in client.v1.billing.meters.list({"status": "inactive"})] == [old]
    assert [one.id for one in client.v1.billing.meters.list()] == [new, old]


@pytest.mark.parametrize(("name", "limit"), [("display_name", 250), ("event_name", 100)])
def test_names_have_a_longest_length(client: stripe.StripeClient, refusal: Refusal, name: str, limit: int) -> None:
    assert client.v1.billing.meters.create(TOKENS | {name: "x" * limit})
    assert refusal(lambda: client.v1.billing.meters.create(TOKENS | {name: "x" * (limit + 1)})).param == name


def test_a_new_display_name_has_the_same_longest_length(client: stripe.StripeClient, refusal: Refusal) -> None:
    meter = client.v1.billing.meters.create(TOKENS)

    assert refusal(lambda: client.v1.billing.meters.update(meter.id, {"display_name": "x" * 251})).http_status == 400


def test_an_unknown_meter_is_a_404(client: stripe.StripeClient, refusal: Refusal) -> None:
    error = refusal(lambda: client.v1.billing.meters.retrieve("mtr_nothing"))

    assert (error.http_status, error.code) == (404, "resource_missing")
    assert error.user_message == "No such meter: 'mtr_nothing'"


def test_tutorials_of_before_meters_fail_as_they_do_at_stripe(client: stripe.StripeClient, refusal: Refusal) -> None:
    error = refusal(
        lambda: client.v1.prices.create(
            {
                "currency": "usd",
                "unit_amount": 1,
                "product_data": {"name": "Tokens"},
                "recurring": {"interval": "month", "usage_type": "metered", "aggregate_usage": "sum"},  # type: ignore[typeddict-unknown-key]  # gone since 2025
            }
        )
    )

    assert (error.code, error.param) == ("parameter_unknown", "recurring[aggregate_usage]")
