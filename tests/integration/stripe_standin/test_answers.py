"""Every answer has the fields, types and values of the SDK's own classes for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe
import stripe.billing

from tollkeeper.testing import StripeStandIn

from .sdk_shapes import differences

HttpCall = Callable[..., Any]

METER = "display_name=Tokens&event_name=ai_tokens&default_aggregation[formula]=sum"
TIERED = (
    "currency=usd&product_data[name]=Tokens&billing_scheme=tiered&tiers_mode=graduated"
    "&tiers[0][up_to]=100000&tiers[0][unit_amount_decimal]=0&tiers[1][up_to]=inf&tiers[1][unit_amount_decimal]=0.2"
    "&expand[0]=tiers"
)


@pytest.fixture
def customer(standin: StripeStandIn) -> str:
    return standin.add_customer()


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/customers", "email=a%40example.com&metadata[user]=u-1", stripe.Customer),
        ("/v1/billing/meters", METER, stripe.billing.Meter),
        ("/v1/products", "name=Tokens&unit_label=token", stripe.Product),
        ("/v1/prices", TIERED, stripe.Price),
        ("/v1/prices", "currency=usd&unit_amount=5&product_data[name]=T&recurring[interval]=month", stripe.Price),
    ],
)
def test_what_is_created_is_answered_in_stripes_shape(http_call: HttpCall, path: str, body: str, kind: Any) -> None:
    reply = http_call("POST", path, body)

    assert reply.status == 200, reply.json
    assert differences(reply.json, kind) == []
    assert differences(http_call("GET", f"{path}/{reply.json['id']}").json, kind) == []


def test_meter_events_their_sums_and_their_adjustments_are_in_stripes_shape(
    standin: StripeStandIn, http_call: HttpCall, customer: str
) -> None:
    meter = standin.add_meter("ai_tokens")
    stamp = int(datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC).timestamp())
    event = http_call(
        "POST",
        "/v1/billing/meter_events",
        f"event_name=ai_tokens&identifier=i&timestamp={stamp}&payload[stripe_customer_id]={customer}&payload[value]=7",
    )
    span = f"customer={customer}&start_time={stamp - 59}&end_time={stamp + 1}"
    summaries = http_call("GET", f"/v1/billing/meters/{meter}/event_summaries?{span}")
    adjustment = http_call(
        "POST",
        "/v1/billing/meter_event_adjustments",
        "type=cancel&event_name=ai_tokens&cancel[identifier]=i",
    )

    assert differences(event.json, stripe.billing.MeterEvent) == []
    assert [differences(one, stripe.billing.MeterEventSummary) for one in summaries.json["data"]] == [[]]
    assert differences(adjustment.json, stripe.billing.MeterEventAdjustment) == []


@pytest.mark.parametrize("status", ["draft", "open", "paid", "void", "uncollectible"])
@pytest.mark.parametrize("subscription", [None, "sub_made_up"])
def test_an_invoice_and_its_lines_are_in_stripes_shape_at_every_step(
    standin: StripeStandIn, customer: str, status: str, subscription: str | None
) -> None:
    invoice = standin.invoice(
        customer=customer,
        period_start=datetime(2026, 10, 1, tzinfo=UTC),
        period_end=datetime(2026, 11, 1, tzinfo=UTC),
        amount=1250,
        status=status,
        subscription=subscription,
        metadata={"invoice_id": "42"},
    )

    assert invoice["status"] == status
    assert differences(invoice, stripe.Invoice) == []
    assert [differences(line, stripe.InvoiceLineItem) for line in invoice["lines"]["data"]] == [[]]


def test_an_invoice_item_and_the_line_that_it_makes_are_in_stripes_shape(http_call: HttpCall, customer: str) -> None:
    invoice = http_call("POST", "/v1/invoices", f"customer={customer}").json["id"]
    item = http_call("POST", "/v1/invoiceitems", f"customer={customer}&invoice={invoice}&amount=-7&metadata[a]=b")

    assert differences(item.json, stripe.InvoiceItem) == []
    read = http_call("GET", f"/v1/invoices/{invoice}").json
    assert differences(read, stripe.Invoice) == []
    assert [differences(line, stripe.InvoiceLineItem) for line in read["lines"]["data"]] == [[]]


def test_an_event_is_in_stripes_shape(standin: StripeStandIn) -> None:
    event = standin.event("customer.created", {"id": "cus_1", "object": "customer"})

    assert differences(event, stripe.Event) == []


def test_the_comparison_itself_notices_what_is_wrong(http_call: HttpCall) -> None:
    body = http_call("POST", "/v1/billing/meters", METER).json
    for wrong in (
        body | {"colour": "red"},
        {name: value for name, value in body.items() if name != "event_name"},
        body | {"created": "yesterday"},
        body | {"livemode": 0},
        body | {"status": "asleep"},
        body | {"display_name": None},
        body | {"default_aggregation": {"formula": "max"}},
        body | {"default_aggregation": {}},
        body | {"value_settings": []},
    ):
        assert len(differences(wrong, stripe.billing.Meter)) == 1, wrong


def test_money_never_travels_as_a_float(http_call: HttpCall) -> None:
    price = http_call("POST", "/v1/prices", TIERED).json

    assert price["tiers"][1]["unit_amount_decimal"] == "0.2"
    assert price["tiers"][1]["unit_amount"] is None
    assert "." not in json.dumps(price).replace("0.2", "")
