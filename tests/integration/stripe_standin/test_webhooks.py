"""What the stand-in sends, received by a real endpoint and checked by our own check and by the SDK's."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe

from tollkeeper.payments import SignatureRefused, verify_stripe
from tollkeeper.testing import FrozenClock, StripeStandIn

from .conftest import Endpoint

SECRET = "whsec_obviously_made_up"
OCTOBER, NOVEMBER = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def paid(standin: StripeStandIn) -> dict[str, Any]:
    return standin.invoice(
        customer=standin.add_customer(email="ada@example.com"),
        period_start=OCTOBER,
        period_end=NOVEMBER,
        amount=1250,
        currency="EUR",
        metadata={"invoice_id": "42"},
        subscription="sub_made_up",
        description="Tokens in October",
    )


def test_a_delivery_is_signed_with_the_clocks_time(
    standin: StripeStandIn, clock: FrozenClock, endpoint: Endpoint, paid: dict[str, Any]
) -> None:
    delivery = standin.deliver(endpoint.url, SECRET, "invoice.paid", paid)

    ((headers, body, path),) = endpoint.received
    event = verify_stripe(body, headers["Stripe-Signature"], SECRET, clock.now(), tolerance_seconds=0)
    assert path == "/billing/webhooks/stripe?from=test"
    assert headers["Content-Type"].startswith("application/json")
    assert (delivery.status, delivery.body, delivery.event_id) == (200, "thanks", event["id"])
    with pytest.raises(SignatureRefused):
        verify_stripe(body, headers["Stripe-Signature"], "whsec_another", clock.now())


def test_the_sdk_reads_a_delivery_as_one_of_stripes_own(
    standin: StripeStandIn, client: stripe.StripeClient, endpoint: Endpoint, paid: dict[str, Any]
) -> None:
    standin.deliver(endpoint.url, SECRET, "invoice.paid", paid, signed_at=datetime.now(UTC))

    ((headers, body, _),) = endpoint.received
    event = client.construct_event(body, headers["Stripe-Signature"], SECRET)
    assert (event.type, event.object, event.livemode) == ("invoice.paid", "event", False)
    assert event.api_version == stripe.api_version
    assert event.id.startswith("evt_")
    invoice = event.data.object
    assert (invoice["id"], invoice["status"]) == (paid["id"], "paid")


def test_an_invoice_paid_says_what_a_receiver_reads(paid: dict[str, Any], clock: FrozenClock) -> None:
    now = int(clock.now().timestamp())
    span = int(OCTOBER.timestamp()), int(NOVEMBER.timestamp())
    (line,) = paid["lines"]["data"]

    assert (paid["amount_paid"], paid["amount_due"], paid["amount_remaining"]) == (1250, 1250, 0)
    assert (paid["total"], paid["currency"], paid["customer_email"]) == (1250, "eur", "ada@example.com")
    assert (paid["period_start"], paid["period_end"]) == span
    assert paid["status_transitions"]["paid_at"] == paid["status_transitions"]["finalized_at"] == now
    assert paid["metadata"] == {"invoice_id": "42"}
    assert paid["billing_reason"] == "subscription_cycle"
    assert paid["parent"]["subscription_details"]["subscription"] == "sub_made_up"
    assert (line["amount"], line["description"], line["subscription"]) == (1250, "Tokens in October", "sub_made_up")
    assert (line["period"]["start"], line["period"]["end"]) == span
    gone_since_2025 = {"subscription", "paid", "charge", "payment_intent"}
    assert gone_since_2025.isdisjoint(paid)


def test_an_invoice_finalized_is_open_and_owed(standin: StripeStandIn) -> None:
    invoice = standin.invoice(
        customer=standin.add_customer(), period_start=OCTOBER, period_end=NOVEMBER, amount=99, status="open"
    )

    assert (invoice["status"], invoice["amount_paid"], invoice["amount_remaining"]) == ("open", 0, 99)
    assert invoice["status_transitions"]["paid_at"] is None
    assert (invoice["billing_reason"], invoice["parent"]) == ("manual", None)


def test_an_invoice_over_nothing_is_paid_however_far_it_should_go(standin: StripeStandIn) -> None:
    invoice = standin.invoice(
        customer=standin.add_customer(), period_start=OCTOBER, period_end=NOVEMBER, amount=0, status="paid"
    )

    assert (invoice["status"], invoice["amount_paid"]) == ("paid", 0)


def test_an_invoice_made_here_is_found_through_the_api(client: stripe.StripeClient, paid: dict[str, Any]) -> None:
    assert client.v1.invoices.retrieve(paid["id"]).amount_paid == 1250

    paid["amount_paid"] = 0

    assert client.v1.invoices.retrieve(paid["id"]).amount_paid == 1250


def test_every_member_of_an_event_can_be_replaced(
    standin: StripeStandIn, endpoint: Endpoint, paid: dict[str, Any]
) -> None:
    standin.deliver(
        endpoint.url, SECRET, "invoice.paid", paid, id="evt_again", livemode=True, account="acct_x", created=7
    )

    event = json.loads(endpoint.received[0][1])
    assert (event["id"], event["livemode"], event["account"], event["created"]) == ("evt_again", True, "acct_x", 7)


def test_each_event_is_new_unless_it_is_told_to_repeat_one(standin: StripeStandIn, paid: dict[str, Any]) -> None:
    first, second = standin.event("invoice.paid", paid), standin.event("invoice.paid", paid)

    assert first["id"] != second["id"]
    assert standin.event("invoice.paid", paid, id=first["id"])["id"] == first["id"]


def test_a_delivery_can_be_late_or_early(
    standin: StripeStandIn, clock: FrozenClock, endpoint: Endpoint, paid: dict[str, Any]
) -> None:
    yesterday = clock.now() - timedelta(days=1)
    standin.deliver(endpoint.url, SECRET, "invoice.paid", paid, signed_at=yesterday)

    ((headers, body, _),) = endpoint.received
    assert verify_stripe(body, headers["Stripe-Signature"], SECRET, yesterday)
    with pytest.raises(SignatureRefused):
        verify_stripe(body, headers["Stripe-Signature"], SECRET, clock.now())


def test_the_receivers_answer_is_reported(standin: StripeStandIn, endpoint: Endpoint, paid: dict[str, Any]) -> None:
    endpoint.answer = 400

    assert standin.deliver(endpoint.url, SECRET, "invoice.paid", paid).status == 400


def test_an_endpoint_without_a_path_is_its_root(
    standin: StripeStandIn, endpoint: Endpoint, paid: dict[str, Any]
) -> None:
    standin.deliver(endpoint.url.partition("/billing")[0], SECRET, "invoice.paid", paid)

    assert endpoint.received[0][2] == "/"


def test_an_https_endpoint_is_not_spoken_to_in_the_clear(
    standin: StripeStandIn, endpoint: Endpoint, paid: dict[str, Any]
) -> None:
    with pytest.raises(ssl.SSLError):
        standin.deliver(endpoint.url.replace("http", "https"), SECRET, "invoice.paid", paid)

    assert endpoint.received == []


def test_an_endpoint_that_is_not_there_is_an_os_error(standin: StripeStandIn, paid: dict[str, Any]) -> None:
    with pytest.raises(OSError):
        standin.deliver("http://127.0.0.1:9/", SECRET, "invoice.paid", paid)


def test_an_event_that_stripe_would_not_send_is_refused(standin: StripeStandIn, paid: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"invoice\.payed"):
        standin.event("invoice.payed", paid)
    with pytest.raises(ValueError, match="colour"):
        standin.event("invoice.paid", paid, colour="red")
