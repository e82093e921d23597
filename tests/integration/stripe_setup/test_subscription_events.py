"""What becomes of a customer whose subscription ends, pauses or is not paid; and money that goes back."""

from __future__ import annotations

import itertools
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.closing.ledger import DECEMBER
from integration.stripe_setup.shop import SECRET, Shop
from tollkeeper.payments.stripe_catalog import SNAPSHOT_EVENTS
from tollkeeper.services.catching_up import CaughtUp, catch_up
from tollkeeper.services.dunning import enforce_access
from tollkeeper.services.receiving import ForeignAccount, receive_stripe
from tollkeeper.services.reporting import report_owed
from tollkeeper.testing import sign_stripe

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def access(shop: Shop) -> str | None:
    found: str | None = shop.customer()["access"]
    return found


def enforce(shop: Shop) -> int:
    return enforce_access(shop.ledger.database, now=shop.clock.now(), grace=shop.side.grace)


def renew(shop: Shop, card: str = "pm_card_visa") -> dict[str, Any]:
    """Lets December come; Stripe's renewal invoice."""
    shop.standin.give_card(shop.customer()["stripe_customer_id"], card)
    shop.clock.set(DECEMBER + 2 * HOUR)
    shop.standin.pass_time()
    [invoice] = shop.client.v1.invoices.list().data
    found: dict[str, Any] = invoice.to_dict()
    return found


class TestTheEndOfASubscription:
    def test_without_a_default_plan_the_customer_is_suspended(self, shop: Shop) -> None:
        shop.client.v1.subscriptions.cancel(shop.subscribe())
        shop.tell_news()
        assert (shop.customer()["plan_id"], access(shop)) == ("pro", "suspended")

    def test_with_one_they_go_there(self, shop: Shop) -> None:
        shop.with_default_plan("free")
        shop.client.v1.subscriptions.cancel(shop.subscribe())
        shop.tell_news()
        assert (shop.customer()["plan_id"], access(shop)) == ("free", None)

    def test_one_that_is_to_end_with_its_period_runs_until_then(self, shop: Shop) -> None:
        subscription = shop.subscribe()
        shop.client.v1.subscriptions.update(subscription, {"cancel_at_period_end": True})
        shop.tell_news()
        assert access(shop) is None
        renew(shop)
        shop.tell_news()
        assert access(shop) == "suspended"

    def test_who_subscribes_again_is_let_in_again(self, shop: Shop) -> None:
        shop.client.v1.subscriptions.cancel(shop.subscribe())
        shop.tell_news()
        shop.subscribe()
        assert (shop.customer()["plan_id"], access(shop)) == ("pro", None)

    def test_who_was_moved_to_another_plan_by_hand_keeps_it(self, shop: Shop) -> None:
        subscription = shop.subscribe()
        shop.ledger.run("UPDATE customers SET plan_id = 'free'")
        shop.client.v1.subscriptions.cancel(subscription)
        shop.tell_news()
        assert (shop.customer()["plan_id"], access(shop)) == ("free", None)

    def test_a_person_who_suspended_somebody_is_not_overruled(self, shop: Shop) -> None:
        shop.ledger.run("UPDATE customers SET status = 'suspended'")
        shop.subscribe()
        assert (shop.customer()["status"], access(shop)) == ("suspended", None)


def test_a_paused_subscription_suspends_until_it_is_resumed(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.standin.set_subscription_status(subscription, "paused")
    shop.tell_news()
    assert access(shop) == "suspended"
    shop.client.v1.subscriptions.resume(subscription)
    shop.tell_news()
    assert access(shop) is None


def test_a_subscription_to_something_else_than_a_plan_plays_no_part(shop: Shop) -> None:
    shop.subscribe()
    customer = shop.customer()["stripe_customer_id"]
    recurring: Any = {
        "currency": "usd",
        "unit_amount": 5,
        "recurring": {"interval": "month"},
        "product_data": {"name": "T"},
    }
    price = shop.client.v1.prices.create(recurring).id
    newsletter = shop.client.v1.subscriptions.create({"customer": customer, "items": [{"price": price}]}).id
    shop.standin.set_subscription_status(newsletter, "paused")
    shop.tell_news()
    assert (shop.customer()["plan_id"], access(shop)) == ("pro", None)
    for subscription in shop.client.v1.subscriptions.list({"status": "active"}).data:
        shop.client.v1.subscriptions.cancel(subscription.id)
    shop.tell_news()
    assert access(shop) == "suspended"


class TestAPaymentThatFailed:
    def test_leads_to_what_the_plan_says_after_the_grace_and_back_when_it_is_paid(self, shop: Shop) -> None:
        shop.subscribe()
        invoice = renew(shop, "pm_card_chargeCustomerFail")
        shop.tell_news()
        assert (enforce(shop), access(shop)) == (0, None)
        shop.clock.set(DECEMBER + HOUR + 7 * DAY - timedelta(seconds=1))
        assert (enforce(shop), access(shop)) == (0, None)
        shop.clock.set(DECEMBER + HOUR + 7 * DAY)
        assert (enforce(shop), access(shop)) == (1, "throttled")
        assert enforce(shop) == 0

        shop.standin.give_card(shop.customer()["stripe_customer_id"], "pm_card_visa")
        shop.client.v1.invoices.pay(invoice["id"])
        shop.tell_news()
        assert access(shop) is None

    @pytest.mark.parametrize(("choice", "left"), [("none", None), ("suspend", "suspended")])
    def test_other_plans_choose_otherwise(self, shop: Shop, choice: str, left: str | None) -> None:
        shop.subscribe()
        shop.ledger.run("UPDATE plans SET on_unpaid = :choice", choice=choice)
        renew(shop, "pm_card_chargeCustomerFail")
        shop.tell_news()
        shop.clock.advance(8 * DAY)
        enforce(shop)
        assert access(shop) == left

    def test_never_touches_usage(self, shop: Shop) -> None:
        shop.subscribe()
        shop.ledger.use("ada", tokens_in=5, at=shop.clock.now())
        before = shop.ledger.rows("SELECT * FROM usage_periods")
        renew(shop, "pm_card_chargeCustomerFail")
        shop.tell_news()
        shop.clock.advance(8 * DAY)
        enforce(shop)
        assert shop.ledger.rows("SELECT * FROM usage_periods") == before

    def test_heard_of_after_the_payment_that_made_it_good_it_means_nothing(self, shop: Shop) -> None:
        shop.subscribe()
        invoice = renew(shop, "pm_card_chargeCustomerFail")
        shop.standin.give_card(shop.customer()["stripe_customer_id"], "pm_card_visa")
        shop.client.v1.invoices.pay(invoice["id"])
        shop.tell(list(reversed(shop.standin.events())))
        shop.clock.advance(9 * DAY)
        assert (enforce(shop), access(shop)) == (0, None)

    def test_heard_of_days_late_the_grace_counts_from_when_it_was(self, shop: Shop) -> None:
        shop.subscribe()
        renew(shop, "pm_card_chargeCustomerFail")
        shop.clock.advance(3 * DAY)
        shop.tell_news()
        assert shop.ledger.rows("SELECT failed_at FROM payment_failures") == [{"failed_at": DECEMBER + HOUR}]


def life(shop: Shop) -> list[dict[str, Any]]:
    """Subscribe, fail to pay, pay, cancel: everything that Stripe says of it."""
    subscription = shop.standin.complete_checkout(shop.checkout().session_id)
    invoice = renew(shop, "pm_card_chargeCustomerFail")
    shop.standin.give_card(shop.customer()["stripe_customer_id"], "pm_card_visa")
    shop.client.v1.invoices.pay(invoice["id"])
    shop.client.v1.subscriptions.update(subscription["id"], {"cancel_at_period_end": True})
    shop.client.v1.subscriptions.cancel(subscription["id"])
    shop.clock.advance(8 * DAY)
    return shop.standin.events()


@pytest.mark.parametrize("seed", range(4))
def test_a_whole_life_told_in_any_order_and_twice_ends_the_same(shop: Shop, seed: int) -> None:
    shop.with_default_plan("free")
    events = life(shop)
    assert {event["type"] for event in events} >= {
        "checkout.session.completed",
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
        "invoice.created",
        "invoice.finalized",
        "invoice.payment_failed",
        "invoice.paid",
    }
    told = [*events, *events]
    random.Random(seed).shuffle(told)
    shop.tell(told)
    shop.clock.advance(5 * DAY)
    shop.apply_pending()
    enforce(shop)
    assert shop.ledger.rows("SELECT status, plan_id FROM subscriptions") == [{"status": "canceled", "plan_id": "pro"}]
    assert shop.ledger.rows("SELECT FROM payment_failures WHERE resolved_at IS NULL") == []
    assert access(shop) is None
    assert shop.ledger.rows("SELECT FROM webhook_events WHERE state = 'pending'") == []


class TestMoneyThatGoesBack:
    @pytest.fixture
    def paid(self, shop: Shop) -> dict[str, Any]:
        """December's renewal at Stripe, and our invoice for November named after it."""
        shop.subscribe()
        invoice = renew(shop)
        shop.ledger.close(DECEMBER)
        shop.ledger.run(
            """
            WITH made AS (
                INSERT INTO invoices (id, user_id, period_start, period_end, currency, status, total_amount, plan_id,
                    plan_version, collect, stripe_invoice_id, arrival_cutoff, created_at)
                SELECT gen_random_uuid(), 'ada', :start, :end, 'usd', 'paid', 0, 'pro', 1, 'meters', :stripe, :end, :end
                WHERE NOT EXISTS (SELECT FROM invoices) RETURNING 1)
            UPDATE invoices SET stripe_invoice_id = :stripe
            """,
            start=datetime(2026, 11, 1, tzinfo=UTC),
            end=DECEMBER,
            stripe=invoice["id"],
        )
        return invoice

    def test_refunds_are_noted_on_our_invoice_whose_total_stays(self, shop: Shop, paid: dict[str, Any]) -> None:
        [before] = shop.ledger.invoices()
        for event in (shop.standin.refund(paid["id"], 300), shop.standin.refund(paid["id"], 200)):
            shop.tell([event, event])
        [row] = shop.ledger.rows("SELECT kind, amount, currency, status FROM invoice_refunds")
        assert row == {"kind": "refund", "amount": 500, "currency": "usd", "status": "refunded"}
        [after] = shop.ledger.invoices()
        assert after["total_amount"] == before["total_amount"]
        assert f"500 usd of Stripe's {paid['id']} was refunded" in after["alarm"]

    def test_what_is_refunded_only_grows(self, shop: Shop, paid: dict[str, Any]) -> None:
        events = [shop.standin.refund(paid["id"], 300), shop.standin.refund(paid["id"], 200)]
        shop.tell(list(reversed(events)))
        assert shop.ledger.rows("SELECT amount FROM invoice_refunds") == [{"amount": 500}]

    @pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
    def test_a_dispute_ends_as_it_was_closed(self, shop: Shop, paid: dict[str, Any], order: tuple[int, ...]) -> None:
        opened = shop.standin.dispute(paid["id"])
        shop.clock.advance(DAY)
        closed = shop.standin.dispute(paid["id"], closed_as="lost")
        shop.tell([(opened, closed)[n] for n in order])
        assert shop.ledger.rows("SELECT kind, status FROM invoice_refunds") == [{"kind": "dispute", "status": "lost"}]
        assert "is disputed" in shop.ledger.invoices()[0]["alarm"]

    def test_of_invoices_that_are_not_ours_nothing_is_noted(self, shop: Shop, paid: dict[str, Any]) -> None:
        shop.ledger.run("UPDATE invoices SET stripe_invoice_id = 'in_other'")
        assert shop.tell([shop.standin.refund(paid["id"], 300)]) == ["ignored"]


HEEDED = (
    "customer.subscription.updated",
    "checkout.session.completed",
    "charge.refunded",
    "charge.dispute.created",
    "invoice.payment_failed",
    "v1.billing.meter.error_report_triggered",
)
STRANGE: tuple[Any, ...] = (
    None,
    [],
    {"object": "sub_1"},
    {"object": {"id": {}, "customer": [], "payment_intent": 7, "amount_refunded": "x", "currency": 1}},
    {"object": {"id": "../../../v1/customers", "customer": "cus_x", "payment_intent": "pi_?a=b", "amount": 10**30}},
)


class TestUsageThatStripeCouldNotCount:
    @pytest.fixture
    def reported(self, shop: Shop) -> str:
        """Ada's November, reported and taken; the identifier of it."""
        shop.subscribe()
        shop.ledger.use("ada", tokens_in=200_000, at=shop.clock.now())
        shop.clock.set(DECEMBER + timedelta(minutes=10))
        shop.ledger.close(DECEMBER)
        report_owed(shop.ledger.database, shop.payments, now=shop.clock.now())
        [report] = shop.ledger.rows("SELECT identifier, state FROM stripe_reports")
        assert report["state"] == "acknowledged"
        return str(report["identifier"])

    def test_is_a_rejected_report_and_an_alarm(self, shop: Shop, reported: str) -> None:
        shop.standin.reject_meter_event(reported)
        event = shop.standin.events()[-1]
        assert shop.tell([event]) == ["applied"]
        shop.tell([event])
        [report] = shop.ledger.rows("SELECT state, last_error FROM stripe_reports")
        assert report["state"] == "rejected"
        assert report["last_error"].startswith("meter_event_customer_not_found")
        assert "could not count" in shop.ledger.invoices()[0]["alarm"]
        notices = shop.ledger.rows("SELECT user_id FROM notices WHERE kind = 'alarm.raised'")
        assert notices == [{"user_id": "ada"}]

    def test_is_reported_again_under_another_name_once_somebody_asks_and_then_counts_once(
        self, shop: Shop, reported: str
    ) -> None:
        shop.standin.reject_meter_event(reported)
        shop.tell([shop.standin.events()[-1]])
        now = shop.clock.advance(2 * HOUR)  # Stripe's sums have caught up by then
        assert report_owed(shop.ledger.database, shop.payments, now=now).acknowledged == 0
        assert report_owed(shop.ledger.database, shop.payments, now=now, insist=True).acknowledged == 1
        counted = [event["payload"]["value"] for event in shop.standin.meter_events() if event["status"] == "counted"]
        assert counted == ["200000"]

    def test_of_others_is_an_alarm_for_the_operator_alone(self, shop: Shop, reported: str) -> None:
        shop.ledger.run("UPDATE stripe_reports SET identifier = 'another'")
        shop.standin.reject_meter_event(reported)
        assert shop.tell([shop.standin.events()[-1]]) == ["applied"]
        assert shop.ledger.rows("SELECT user_id FROM notices WHERE kind = 'alarm.raised'") == [{"user_id": None}]


class TestHostileAndForeign:
    def test_an_event_of_a_connected_account_is_not_taken(self, shop: Shop) -> None:
        event = shop.standin.event("invoice.paid", {"id": "in_1"}, account="acct_of_somebody")
        body, now = json.dumps(event).encode(), shop.clock.now()
        with pytest.raises(ForeignAccount):
            receive_stripe(shop.ledger.database, body, sign_stripe(body, SECRET, now), SECRET, now=now)

    def test_a_strange_shape_changes_nothing_and_is_never_a_failure(self, shop: Shop) -> None:
        before = shop.customer()
        for number, (event_type, data) in enumerate(itertools.product(HEEDED, STRANGE)):
            [state] = shop.tell([{"id": f"evt_{number}", "type": event_type, "data": data, "created": "soon"}])
            assert state in ("ignored", "applied"), (event_type, data)
        assert shop.customer() == before

    def test_one_that_names_a_subscription_of_somebody_else_is_ignored(self, shop: Shop) -> None:
        about = {"id": "sub_of_nobody", "object": "subscription"}
        assert shop.tell([shop.standin.event("customer.subscription.updated", about)]) == ["ignored"]


def test_what_no_webhook_brought_is_read_at_stripe_and_heard_once(shop: Shop) -> None:
    shop.standin.complete_checkout(shop.checkout().session_id)
    shop.clock.advance(10 * DAY)

    def read() -> CaughtUp:
        now = shop.clock.now()
        return catch_up(
            shop.ledger.database, shop.side, shop.selling, types=SNAPSHOT_EVENTS, since=now - 11 * DAY, now=now
        )

    assert read() == CaughtUp(2, 2)
    assert shop.customer()["plan_id"] == "pro"
    assert read() == CaughtUp(2, 0)


def test_either_of_two_secrets_is_good(shop: Shop) -> None:
    body, now = json.dumps(shop.standin.event("invoice.overdue", {"id": "in_1"})).encode(), shop.clock.now()
    for secret in ("whsec_a", "whsec_b"):
        received = receive_stripe(
            shop.ledger.database, body, sign_stripe(body, secret, now), "whsec_a, whsec_b,", now=now
        )
        assert received.type == "invoice.overdue"
