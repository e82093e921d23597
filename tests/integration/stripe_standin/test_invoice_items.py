from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import stripe

from tollkeeper.testing import FrozenClock, StripeStandIn

Refusal = Callable[..., stripe.InvalidRequestError]

OCTOBER, NOVEMBER = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)


def test_items_on_a_draft_make_up_its_total(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    customer = standin.add_customer()
    draft = client.v1.invoices.create({"customer": customer})
    for amount in (700, -200):
        client.v1.invoice_items.create({"customer": customer, "invoice": draft.id, "amount": amount})
    assert client.v1.invoices.retrieve(draft.id).total == 500
    listed = client.v1.invoice_items.list({"invoice": draft.id}).data
    assert [item.amount for item in listed] == [-200, 700]

    client.v1.invoice_items.delete(listed[0].id)

    assert client.v1.invoices.retrieve(draft.id).total == 700
    client.v1.invoices.delete(draft.id)
    assert client.v1.invoice_items.list({"customer": customer}).data == []


def test_an_item_without_an_invoice_waits_for_the_next_one(
    standin: StripeStandIn, client: stripe.StripeClient, clock: FrozenClock
) -> None:
    customer = standin.add_customer()
    client.v1.invoice_items.create({"customer": customer, "amount": 300, "description": "Late"})
    client.v1.invoice_items.create({"customer": customer, "amount": 9, "currency": "eur"})
    aside = client.v1.invoices.create({"customer": customer})
    assert (aside.total, client.v1.invoice_items.list({"customer": customer, "pending": True}).data[1].amount) == (
        0,
        300,
    )

    renewal = standin.invoice(
        customer=customer, period_start=OCTOBER, period_end=NOVEMBER, amount=1_000, subscription="sub_1"
    )

    assert renewal["total"] == 1_300
    assert [one.amount for one in client.v1.invoice_items.list({"customer": customer, "pending": True}).data] == [9]
    in_euros = client.v1.invoices.create(
        {"customer": customer, "currency": "eur", "pending_invoice_items_behavior": "include"}
    )
    assert in_euros.total == 9


def test_items_that_stripe_does_not_take(standin: StripeStandIn, client: stripe.StripeClient, refusal: Refusal) -> None:
    customer, other = standin.add_customer(), standin.add_customer()
    draft = client.v1.invoices.create({"customer": customer}).id
    done = client.v1.invoices.create({"customer": customer}).id
    client.v1.invoices.finalize_invoice(done)

    def refused(**params: Any) -> str | None:
        item: Any = {"customer": customer, "amount": 1, **params}
        param: str | None = refusal(lambda: client.v1.invoice_items.create(item)).param
        return param

    assert refused(customer="cus_nobody") == "customer"
    assert refused(amount=100_000_000) == "amount"
    assert refused(invoice=done) == "invoice"
    assert refused(invoice=draft, customer=other) == "invoice"
    assert refused(invoice=draft, currency="eur") == "currency"
    assert refused(period={"start": 10, "end": 9}) == "period"
    for _ in range(250):
        client.v1.invoice_items.create({"customer": customer, "invoice": draft, "amount": 1})
    assert refused(invoice=draft) == "invoice"


def test_an_item_of_a_final_invoice_stays(
    standin: StripeStandIn, client: stripe.StripeClient, refusal: Refusal
) -> None:
    customer = standin.add_customer()
    draft = client.v1.invoices.create({"customer": customer}).id
    item = client.v1.invoice_items.create({"customer": customer, "invoice": draft, "amount": 100}).id
    client.v1.invoices.finalize_invoice(draft)
    assert refusal(lambda: client.v1.invoice_items.delete(item)).http_status == 400


def test_what_is_too_little_to_charge_goes_to_the_balance_and_onto_the_next_invoice(
    standin: StripeStandIn, client: stripe.StripeClient, clock: FrozenClock
) -> None:
    customer = standin.add_customer()
    figures = []
    for amount in (30, -100, 120):
        draft = client.v1.invoices.create({"customer": customer}).id
        client.v1.invoice_items.create({"customer": customer, "invoice": draft, "amount": amount})
        done = client.v1.invoices.finalize_invoice(draft)
        figures.append((done.total, done.starting_balance, done.amount_due, done.ending_balance, done.status))
        clock.advance(timedelta(days=30))
    # 30 cents are below 50; a credit of 100 leaves 70 to the customer's good, which 120 then uses up
    assert figures == [(30, 0, 0, 30, "paid"), (-100, 30, 0, -70, "paid"), (120, -70, 50, 0, "open")]


def test_a_fee_goes_with_a_destination(standin: StripeStandIn, client: stripe.StripeClient, refusal: Refusal) -> None:
    customer = standin.add_customer()
    invoice = client.v1.invoices.create(
        {"customer": customer, "application_fee_amount": 30, "transfer_data": {"destination": "acct_1"}}
    )
    assert standin.splits() == {invoice.id: {"application_fee_amount": 30, "destination": "acct_1"}}
    alone: Any = {"customer": customer, "application_fee_amount": 30}
    assert refusal(lambda: client.v1.invoices.create(alone)).param == "transfer_data[destination]"
    nobody: Any = {"customer": customer, "transfer_data": {"destination": "vendor"}}
    assert refusal(lambda: client.v1.invoices.create(nobody)).param == "transfer_data[destination]"
