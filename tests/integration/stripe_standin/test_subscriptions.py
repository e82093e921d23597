"""Subscriptions from checkout to their end: anchored periods, usage counted at the end, cards that fail, test clocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tollkeeper.testing import FrozenClock, StripeStandIn

from .sdk_shapes import differences

MID_NOVEMBER = int(datetime(2026, 11, 14, 9, 30, tzinfo=UTC).timestamp())
DECEMBER = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
JANUARY = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
HOUR = 3_600
FIRST_OF_MONTH: Any = {"day_of_month": 1, "hour": 0, "minute": 0, "second": 0}


class Shop:
    """A seller with a base price of $99.00 and tokens: 100,000 free, then 0.3 cents a thousand."""

    def __init__(self, standin: StripeStandIn, client: stripe.StripeClient) -> None:
        self.standin, self.client = standin, client
        self.meter = standin.add_meter("ai_tokens")
        product = client.v1.products.create({"name": "Pro"}).id
        self.base = client.v1.prices.create(
            {"product": product, "currency": "usd", "unit_amount": 9_900, "recurring": {"interval": "month"}}
        ).id
        self.tokens = client.v1.prices.create(
            {
                "product": product,
                "currency": "usd",
                "recurring": {"interval": "month", "usage_type": "metered", "meter": self.meter},
                "billing_scheme": "tiered",
                "tiers_mode": "graduated",
                "tiers": [
                    {"up_to": 100_000, "unit_amount_decimal": "0"},  # type: ignore[typeddict-item] # sent as text
                    {"up_to": "inf", "unit_amount_decimal": "0.0003"},  # type: ignore[typeddict-item]
                ],
            }
        ).id
        self.clock = client.v1.test_helpers.test_clocks.create({"frozen_time": MID_NOVEMBER}).id

    def customer(self, card: str = "pm_card_visa") -> str:
        made = self.client.v1.customers.create(
            {
                "email": "ada@example.com",
                "test_clock": self.clock,
                "payment_method": card,
                "invoice_settings": {"default_payment_method": card},
            }
        )
        return made.id

    def subscribe(self, customer: str, *, base: bool = True, **more: Any) -> stripe.Subscription:
        items: Any = [{"price": self.base}] if base else []
        params: Any = {
            "customer": customer,
            "items": [*items, {"price": self.tokens}],
            "billing_cycle_anchor_config": FIRST_OF_MONTH,
            "proration_behavior": "none",
        }
        params |= more
        return self.client.v1.subscriptions.create(params)

    def use(self, customer: str, value: int, at: int) -> None:
        self.client.v1.billing.meter_events.create(
            {
                "event_name": "ai_tokens",
                "payload": {"stripe_customer_id": customer, "value": str(value)},
                "timestamp": at,
            }
        )

    def advance(self, to: int) -> None:
        assert self.client.v1.test_helpers.test_clocks.advance(self.clock, {"frozen_time": to}).status == "ready"

    def invoices(self, customer: str) -> list[stripe.Invoice]:
        return list(reversed(self.client.v1.invoices.list({"customer": customer}).data))

    def happened(self) -> list[str]:
        return [event["type"] for event in self.standin.events()]


@pytest.fixture
def shop(standin: StripeStandIn, client: stripe.StripeClient) -> Shop:
    return Shop(standin, client)


def test_the_time_before_the_anchor_is_free_and_the_first_invoice_has_the_usage_of_the_stub(shop: Shop) -> None:
    ada = shop.customer()
    subscription = shop.subscribe(ada)
    item = subscription["items"].data[0]
    assert (subscription.status, item.current_period_start, item.current_period_end) == (
        "active",
        MID_NOVEMBER,
        DECEMBER,
    )
    assert shop.invoices(ada) == []

    shop.advance(DECEMBER - 60)
    shop.use(ada, 1_100_000, DECEMBER - 1)  # 1,000,000 over the free ones at 0.0003 cents = 300 cents
    shop.use(ada, 5_000_000, DECEMBER)  # the next period's
    shop.advance(DECEMBER + 2 * HOUR)

    [invoice] = shop.invoices(ada)
    assert [line.amount for line in invoice.lines.data] == [9_900, 0, 300]
    assert (invoice.total, invoice.status, invoice.billing_reason) == (10_200, "paid", "subscription_cycle")
    assert (invoice.period_start, invoice.period_end) == (MID_NOVEMBER, DECEMBER)


def test_usage_that_comes_within_the_hour_of_grace_is_on_the_invoice_and_later_usage_on_none(shop: Shop) -> None:
    ada = shop.customer()
    shop.subscribe(ada, base=False)
    shop.advance(DECEMBER + HOUR // 2)
    [draft] = shop.invoices(ada)
    assert (draft.status, draft.automatically_finalizes_at) == ("draft", DECEMBER + HOUR)
    shop.use(ada, 200_000, DECEMBER - 1)
    shop.advance(DECEMBER + HOUR)
    shop.use(ada, 900_000, DECEMBER - 1)
    assert [one.total for one in shop.invoices(ada)] == [30]
    shop.advance(JANUARY + HOUR)
    assert [one.total for one in shop.invoices(ada)] == [30, 0]


def test_without_an_anchor_the_base_fee_is_due_at_once(shop: Shop) -> None:
    ada = shop.customer()
    params: Any = {"customer": ada, "items": [{"price": shop.base}, {"price": shop.tokens}]}
    subscription = shop.client.v1.subscriptions.create(params)
    assert subscription.status == "active"
    assert [(one.total, one.billing_reason) for one in shop.invoices(ada)] == [(9_900, "subscription_create")]


def test_a_card_that_fails_leaves_the_subscription_past_due_until_the_invoice_is_paid(shop: Shop) -> None:
    ada = shop.customer("pm_card_chargeCustomerFail")
    subscription = shop.subscribe(ada)
    shop.advance(DECEMBER + HOUR)
    [invoice] = shop.invoices(ada)
    assert (invoice.status, invoice.attempt_count) == ("open", 1)
    assert shop.client.v1.subscriptions.retrieve(subscription.id).status == "past_due"
    with pytest.raises(stripe.CardError):
        shop.client.v1.invoices.pay(invoice.id)

    card = shop.client.v1.payment_methods.attach("pm_card_visa", {"customer": ada}).id
    shop.client.v1.customers.update(ada, {"invoice_settings": {"default_payment_method": card}})
    assert shop.client.v1.invoices.pay(invoice.id).status == "paid"
    assert shop.client.v1.subscriptions.retrieve(subscription.id).status == "active"
    assert shop.happened().count("invoice.payment_failed") == 2


def test_cancelled_at_the_periods_end_the_last_usage_is_billed_and_no_further_base_fee(shop: Shop) -> None:
    ada = shop.customer()
    subscription = shop.subscribe(ada)
    shop.client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    shop.advance(DECEMBER - 60)
    shop.use(ada, 1_100_000, DECEMBER - 1)
    shop.advance(DECEMBER + HOUR)
    assert [(one.total, one.status) for one in shop.invoices(ada)] == [(300, "paid")]
    assert shop.client.v1.subscriptions.retrieve(subscription.id).status == "canceled"
    assert "customer.subscription.deleted" in shop.happened()


def test_a_metered_price_takes_no_quantity(
    shop: Shop, refusal: Callable[[Callable[[], object]], stripe.InvalidRequestError]
) -> None:
    ada = shop.customer()
    items: Any = [{"price": shop.tokens, "quantity": 1}]
    assert refusal(lambda: shop.client.v1.subscriptions.create({"customer": ada, "items": items})).param == (
        "items[0][quantity]"
    )
    checkout: Any = {"mode": "subscription", "customer": ada, "line_items": items, "success_url": "https://x.test"}
    assert refusal(lambda: shop.client.v1.checkout.sessions.create(checkout)).param == "line_items[0][quantity]"


def test_a_test_clock_goes_forward_by_two_intervals_at_most(
    shop: Shop, refusal: Callable[[Callable[[], object]], stripe.InvalidRequestError]
) -> None:
    shop.subscribe(shop.customer())
    assert refusal(lambda: shop.advance(MID_NOVEMBER - 1)).param == "frozen_time"
    assert refusal(lambda: shop.advance(JANUARY + 90 * 24 * HOUR)).param == "frozen_time"


def test_a_price_that_is_changed_prices_the_whole_open_period(shop: Shop) -> None:
    ada = shop.customer()
    subscription = shop.subscribe(ada)
    old = next(item for item in subscription["items"].data if item.price.id == shop.base)
    params: Any = {"items": [{"id": old.id, "deleted": True}], "proration_behavior": "none"}
    changed = shop.client.v1.subscriptions.update(subscription.id, params)
    assert [item.price.id for item in changed["items"].data] == [shop.tokens]


class TestCheckout:
    def session(self, shop: Shop, customer: str, **more: Any) -> stripe.checkout.Session:
        params: Any = {
            "mode": "subscription",
            "customer": customer,
            "client_reference_id": "ada",
            "line_items": [{"price": shop.base, "quantity": 1}, {"price": shop.tokens}],
            "success_url": "https://app.example.com/done?session_id={CHECKOUT_SESSION_ID}",
            "subscription_data": {
                "metadata": {"plan": "pro"},
                "billing_cycle_anchor_config": FIRST_OF_MONTH,
                "proration_behavior": "none",
            },
        }
        params |= more
        return shop.client.v1.checkout.sessions.create(params)

    def test_a_customer_who_completes_it_has_a_subscription(self, shop: Shop) -> None:
        ada = shop.customer()
        session = self.session(shop, ada)
        assert (session.status, session.payment_status) == ("open", "unpaid")
        subscription = shop.standin.complete_checkout(session.id)
        done = shop.client.v1.checkout.sessions.retrieve(session.id)
        assert (done.status, done.payment_status, done.subscription) == (
            "complete",
            "no_payment_required",
            subscription["id"],
        )
        assert (subscription["status"], subscription["metadata"]) == ("active", {"plan": "pro"})
        assert shop.happened()[-2:] == ["customer.subscription.created", "checkout.session.completed"]

    def test_it_can_be_completed_once_and_not_after_it_expired(self, shop: Shop) -> None:
        ada = shop.customer()
        first, second = self.session(shop, ada), self.session(shop, ada)
        shop.standin.complete_checkout(first.id)
        shop.client.v1.checkout.sessions.expire(second.id)
        for session in (first, second):
            with pytest.raises(Exception, match="cannot be completed"):
                shop.standin.complete_checkout(session.id)

    def test_a_slow_payment_is_unpaid_until_it_came_through(self, shop: Shop) -> None:
        session = self.session(shop, shop.customer())
        shop.standin.complete_checkout(session.id, settles_later=True)
        assert shop.client.v1.checkout.sessions.retrieve(session.id).payment_status == "unpaid"
        shop.standin.settle_checkout(session.id, paid=True)
        assert shop.client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"
        assert shop.happened()[-1] == "checkout.session.async_payment_succeeded"


def test_a_refund_and_a_dispute_lead_back_to_the_invoice_by_its_payment(shop: Shop) -> None:
    ada = shop.customer()
    shop.client.v1.subscriptions.create({"customer": ada, "items": [{"price": shop.base}]})
    [invoice] = shop.invoices(ada)
    refunded = shop.standin.refund(invoice.id, 400)["data"]["object"]
    disputed = shop.standin.dispute(invoice.id)["data"]["object"]
    assert (refunded["amount_refunded"], refunded["amount"], disputed["amount"]) == (400, 9_900, 9_900)
    for charge in (refunded, disputed):
        payment: Any = {"type": "payment_intent", "payment_intent": charge["payment_intent"]}
        [found] = shop.client.v1.invoice_payments.list({"payment": payment}).data
        assert found.invoice == invoice.id


def test_an_event_that_turned_out_bad_is_reported_by_a_thin_event_that_must_be_fetched(shop: Shop) -> None:
    ada = shop.customer()
    shop.client.v1.billing.meter_events.create(
        {
            "event_name": "ai_tokens",
            "payload": {"stripe_customer_id": ada, "value": "7"},
            "identifier": "ada:1",
            "timestamp": MID_NOVEMBER,
        }
    )
    event = shop.standin.reject_meter_event("ada:1")
    sent = shop.standin.events()[-1]
    assert (sent["id"], "data" in sent, sent["related_object"]["id"]) == (event["id"], False, shop.meter)
    fetched: Any = shop.client.v2.core.events.retrieve(event["id"])
    assert fetched.data.reason.error_types[0].sample_errors[0].request.identifier == "ada:1"


def test_every_object_is_one_that_the_sdk_expects(shop: Shop, clock: FrozenClock) -> None:
    ada = shop.customer()
    session = TestCheckout().session(shop, ada)
    subscription = shop.standin.complete_checkout(session.id)
    shop.advance(DECEMBER + HOUR)
    portal: Any = {"features": {"invoice_history": {"enabled": True}}}
    configuration = shop.client.v1.billing_portal.configurations.create(portal)
    opened = shop.client.v1.billing_portal.sessions.create({"customer": ada, "configuration": configuration.id})
    hook: Any = {"url": "https://x.test/hook", "enabled_events": ["invoice.paid"], "api_version": stripe.api_version}
    endpoint = shop.client.v1.webhook_endpoints.create(hook)
    payment = shop.client.v1.invoice_payments.list().data[0]
    method = shop.client.v1.payment_methods.attach("pm_card_visa", {"customer": ada})
    done = shop.client.v1.checkout.sessions.retrieve(session.id)
    stopped = shop.client.v1.test_helpers.test_clocks.retrieve(shop.clock)
    objects = (done, configuration, opened, endpoint, payment, method, shop.invoices(ada)[0], stopped)
    for one in objects:
        assert differences(plain(one), type(one)) == []
    assert differences(subscription, stripe.Subscription) == []
    assert differences(subscription["items"]["data"][0], stripe.SubscriptionItem) == []
    assert endpoint.secret is not None
    assert shop.client.v1.webhook_endpoints.retrieve(endpoint.id).to_dict().get("secret") is None


def plain(one: stripe.StripeObject) -> dict[str, Any]:
    return one.to_dict(for_json=True)
