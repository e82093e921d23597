from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe

from tollkeeper.testing import FrozenClock, StripeStandIn

Refusal = Callable[..., stripe.InvalidRequestError]

OCTOBER, NOVEMBER = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def invoice_in(standin: StripeStandIn) -> Callable[[str], str]:
    """The id of an invoice over 12.50 that has come as far as a status."""

    def make(status: str) -> str:
        made = standin.invoice(
            customer=standin.add_customer(), period_start=OCTOBER, period_end=NOVEMBER, amount=1250, status=status
        )
        return str(made["id"])

    return make


def test_a_draft_is_made_for_a_customer(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    customer = standin.add_customer(email="ada@example.com")

    invoice = client.v1.invoices.create(
        {
            "customer": customer,
            "currency": "EUR",
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "metadata": {"invoice_id": "42"},
        }
    )

    assert (invoice.status, invoice.total, invoice.currency, invoice.number) == ("draft", 0, "eur", None)
    assert (invoice.customer, invoice.customer_email) == (customer, "ada@example.com")
    assert invoice.metadata is not None
    assert invoice.metadata.to_dict() == {"invoice_id": "42"}
    assert client.v1.invoices.retrieve(invoice.id).to_dict() == invoice.to_dict()


def test_a_draft_owes_nothing_yet(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    draft = client.v1.invoices.create({"customer": standin.add_customer()}).to_dict()

    figures = {name for name, value in draft.items() if type(value) is int} - {"created", "period_start", "period_end"}
    assert {"amount_due", "amount_paid", "amount_remaining", "subtotal", "total", "attempt_count"} <= figures
    assert [name for name in figures if draft[name] != 0] == []


def test_an_invoice_without_a_currency_is_in_the_customers_or_in_dollars(
    standin: StripeStandIn, client: stripe.StripeClient
) -> None:
    for customer, currency in [(standin.add_customer(currency="eur"), "eur"), (standin.add_customer(), "usd")]:
        assert client.v1.invoices.create({"customer": customer}).currency == currency


def test_an_invoice_sent_by_mail_needs_its_due_date(
    standin: StripeStandIn, clock: FrozenClock, client: stripe.StripeClient, refusal: Refusal
) -> None:
    sent: Any = {"customer": standin.add_customer(), "collection_method": "send_invoice"}

    invoice = client.v1.invoices.create(sent | {"days_until_due": 14})

    assert invoice.due_date == int((clock.now() + timedelta(days=14)).timestamp())
    assert refusal(lambda: client.v1.invoices.create(sent)).param == "days_until_due"
    charged = {"customer": sent["customer"], "days_until_due": 14}
    assert refusal(lambda: client.v1.invoices.create(charged)).param == "days_until_due"  # type: ignore[arg-type]  # built above


def test_an_invoice_needs_a_customer_who_is_there(
    standin: StripeStandIn, client: stripe.StripeClient, refusal: Refusal
) -> None:
    deleted = standin.add_customer()
    client.v1.customers.delete(deleted)

    assert refusal(lambda: client.v1.invoices.create({})).code == "parameter_missing"
    for customer in ("cus_nobody", deleted):
        error = refusal(lambda customer=customer: client.v1.invoices.create({"customer": customer}))
        assert (error.http_status, error.code, error.param) == (400, "resource_missing", "customer")


def test_discounts_are_a_loud_501(standin: StripeStandIn, client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.APIError, match="discounts"):
        client.v1.invoices.create({"customer": standin.add_customer(), "discounts": [{"coupon": "half"}]})


def test_an_invoice_goes_from_draft_through_open_to_paid(
    clock: FrozenClock, client: stripe.StripeClient, invoice_in: Callable[[str], str]
) -> None:
    draft = invoice_in("draft")
    clock.advance(timedelta(hours=1))
    opened = client.v1.invoices.finalize_invoice(draft, {"auto_advance": True})
    assert (opened.status, opened.amount_due, opened.amount_paid, opened.amount_remaining) == ("open", 1250, 0, 1250)
    assert opened.status_transitions.finalized_at == int(clock.now().timestamp())
    assert opened.number is not None
    assert opened.hosted_invoice_url is not None
    assert opened.auto_advance is True

    clock.advance(timedelta(hours=1))
    paid = client.v1.invoices.pay(draft)

    assert (paid.status, paid.amount_paid, paid.amount_remaining, paid.attempt_count) == ("paid", 1250, 0, 1)
    assert paid.status_transitions.paid_at == int(clock.now().timestamp())


def test_an_invoice_over_nothing_is_paid_as_soon_as_it_is_finalized(
    standin: StripeStandIn, client: stripe.StripeClient
) -> None:
    draft = client.v1.invoices.create({"customer": standin.add_customer()})

    done = client.v1.invoices.finalize_invoice(draft.id)

    assert (done.status, done.amount_paid, done.attempt_count) == ("paid", 0, 0)


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        ("draft", {"finalize_invoice", "delete"}),
        ("open", {"pay", "void_invoice", "mark_uncollectible"}),
        ("paid", set()),
        ("void", set()),
        ("uncollectible", {"pay", "void_invoice"}),
    ],
)
def test_each_status_allows_its_own_steps_and_no_others(
    client: stripe.StripeClient, invoice_in: Callable[[str], str], refusal: Refusal, status: str, allowed: set[str]
) -> None:
    for step in ("finalize_invoice", "delete", "pay", "void_invoice", "mark_uncollectible"):
        take: Any = getattr(client.v1.invoices, step)
        invoice = invoice_in(status)
        if step in allowed:
            take(invoice)
        else:
            assert refusal(lambda take=take, invoice=invoice: take(invoice)).http_status == 400


def test_a_finished_invoice_keeps_everything_but_its_metadata(
    client: stripe.StripeClient, invoice_in: Callable[[str], str], refusal: Refusal
) -> None:
    paid = invoice_in("paid")

    changed = client.v1.invoices.update(paid, {"metadata": {"seen": "yes"}})

    assert changed.metadata is not None
    assert changed.metadata["seen"] == "yes"
    assert refusal(lambda: client.v1.invoices.update(paid, {"description": "x"})).http_status == 400
    assert client.v1.invoices.update(invoice_in("draft"), {"description": "x"}).description == "x"


def test_invoices_are_listed_by_customer_and_status(
    client: stripe.StripeClient, invoice_in: Callable[[str], str]
) -> None:
    opened, paid = invoice_in("open"), invoice_in("paid")
    payer = str(client.v1.invoices.retrieve(paid).customer)

    assert [one.id for one in client.v1.invoices.list({"status": "open"})] == [opened]
    assert [one.id for one in client.v1.invoices.list({"customer": payer})] == [paid]


def test_a_deleted_draft_is_gone(
    client: stripe.StripeClient, invoice_in: Callable[[str], str], refusal: Refusal
) -> None:
    draft = invoice_in("draft")

    assert client.v1.invoices.delete(draft).deleted is True
    assert refusal(lambda: client.v1.invoices.retrieve(draft)).http_status == 404
