"""From a checkout to a plan and an API key: once, however often and in whatever order Stripe tells of it."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from integration.stripe_setup.shop import PRO, Shop
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.keys import looks_like_key
from tollkeeper.services.checking_out import (
    AlreadySubscribed,
    ClaimRefused,
    HandedOver,
    KeyHandedOver,
    NotPaidYet,
    NotSetUp,
    Started,
    claim_key,
    open_portal,
)
from tollkeeper.services.onboarding import issue_key


def claim(shop: Shop, started: Started, by: str | None = None) -> HandedOver:
    return claim_key(shop.ledger.database, started.session_id, by or started.claim, shop.clock.now())


def keys(shop: Shop) -> int:
    return len(shop.ledger.rows("SELECT FROM api_keys"))


def first_fees(shop: Shop) -> list[int]:
    return [item.amount for item in shop.client.v1.invoice_items.list({"limit": 100}).data]


def test_nothing_changes_until_it_is_paid(shop: Shop) -> None:
    started = shop.checkout()
    assert started.url.startswith("https://checkout.stripe.com/")
    assert shop.customer()["plan_id"] == "free"
    with pytest.raises(NotPaidYet):
        claim(shop, started)
    assert keys(shop) == 0


def test_once_it_is_paid_the_plan_is_theirs_and_the_key_is_handed_over_once(shop: Shop) -> None:
    started = shop.checkout()
    shop.standin.complete_checkout(started.session_id)
    shop.tell_news()
    assert shop.customer()["plan_id"] == "pro"
    handed = claim(shop, started)
    assert (handed.user_id, handed.plan_id) == ("ada", "pro")
    assert looks_like_key(str(handed.key))
    with pytest.raises(KeyHandedOver):
        claim(shop, started)
    assert keys(shop) == 1


def test_ten_claims_at_once_hand_over_one_key(shop: Shop) -> None:
    started = shop.checkout()
    shop.standin.complete_checkout(started.session_id)
    shop.tell_news()

    def attempt(_: int) -> bool:
        try:
            return claim(shop, started).key is not None
        except KeyHandedOver:
            return False

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(attempt, range(10))) == 1
    assert keys(shop) == 1


def test_the_key_is_for_whoever_has_the_claim_and_not_for_who_saw_the_address(shop: Shop) -> None:
    started, other = shop.checkout(), shop.checkout()
    shop.standin.complete_checkout(started.session_id)
    shop.tell_news()
    for by in ("", "0" * 64, other.claim, "\ud800"):
        with pytest.raises(ClaimRefused):
            claim(shop, started, by or "x")
    with pytest.raises(ClaimRefused):
        claim_key(shop.ledger.database, "cs_test_of_nobody", started.claim, shop.clock.now())
    assert started.claim not in repr(started)


def test_who_has_a_key_already_gets_no_second_one(shop: Shop) -> None:
    issue_key(shop.ledger.database, "ada", shop.clock.now())
    started = shop.checkout()
    shop.standin.complete_checkout(started.session_id)
    shop.tell_news()
    assert claim(shop, started).key is None
    assert keys(shop) == 1


def test_the_order_of_events_does_not_matter_nor_how_often_they_come(shop: Shop) -> None:
    for number, order in enumerate(itertools.permutations(range(3))):
        user = shop.ledger.customer(f"user {number}", "free", since=shop.clock.now())
        started = shop.checkout(user)
        before = len(shop.standin.events())
        subscription = shop.standin.complete_checkout(started.session_id)
        shop.client.v1.subscriptions.update(subscription["id"], {"metadata": {"note": "touched"}})
        events = shop.standin.events()[before:]
        assert [event["type"] for event in events] == [
            "customer.subscription.created",
            "checkout.session.completed",
            "customer.subscription.updated",
        ]
        shop.tell([events[n] for n in (*order, *reversed(order))])
        assert shop.customer(user)["plan_id"] == "pro", order
        moves = shop.ledger.rows(
            "SELECT after FROM audit_trail WHERE kind = 'customer.moved' AND user_id = :user", user=user
        )
        assert [move["after"]["plan_id"] for move in moves] == ["pro"]
        assert first_fees(shop) == [9_900] * (number + 1)
        assert claim(shop, started).key is not None
    assert keys(shop) == 6
    assert shop.ledger.rows("SELECT DISTINCT state FROM checkouts") == [{"state": "granted"}]


def test_all_events_at_once_give_the_plan_once(shop: Shop) -> None:
    started = shop.checkout()
    shop.standin.complete_checkout(started.session_id)
    events = shop.standin.events()
    with ThreadPoolExecutor(6) as pool:
        for run in [pool.submit(shop.tell, [event]) for event in events * 3]:
            run.result()
    shop.clock.advance(timedelta(minutes=5))
    shop.apply_pending()
    assert shop.customer()["plan_id"] == "pro"
    assert first_fees(shop) == [9_900]


def test_a_payment_that_takes_days_counts_when_it_came_through(shop: Shop) -> None:
    started = shop.checkout()
    shop.standin.complete_checkout(started.session_id, settles_later=True)
    shop.tell_news()
    assert shop.customer()["plan_id"] == "free"
    shop.standin.settle_checkout(started.session_id, paid=True)
    shop.tell_news()
    assert shop.customer()["plan_id"] == "pro"


def test_a_payment_that_takes_days_and_fails_gives_nothing(shop: Shop) -> None:
    started = shop.checkout()
    shop.standin.complete_checkout(started.session_id, settles_later=True)
    shop.standin.settle_checkout(started.session_id, paid=False)
    shop.tell_news()
    assert shop.customer()["plan_id"] == "free"
    with pytest.raises(NotPaidYet, match="failed"):
        claim(shop, started)


def test_an_incomplete_subscription_gives_nothing(shop: Shop) -> None:
    shop.checkout()
    stripe_customer = shop.customer()["stripe_customer_id"]
    shop.standin.give_card(stripe_customer, "pm_card_chargeCustomerFail")
    base = shop.ledger.rows("SELECT stripe_id FROM stripe_objects WHERE key = 'tollkeeper:pro:base'")[0]["stripe_id"]
    made: Any = shop.client.v1.subscriptions.create({"customer": stripe_customer, "items": [{"price": base}]})
    assert made.status == "incomplete"
    shop.tell_news()
    assert shop.customer()["plan_id"] == "free"
    assert shop.customer()["access"] is None
    assert shop.ledger.rows("SELECT status FROM subscriptions") == [{"status": "incomplete"}]


def test_while_stripe_does_not_answer_the_event_waits_and_is_applied_later(shop: Shop) -> None:
    started = shop.checkout()
    shop.standin.complete_checkout(started.session_id)
    shop.standin.inject("drop_before", method="GET", path="/v1/*", times=100)
    assert set(shop.tell_news()) <= {"pending", "ignored"}
    assert shop.customer()["plan_id"] == "free"
    shop.standin.clear_faults()
    shop.clock.advance(timedelta(minutes=1))
    assert shop.apply_pending() == 2
    assert shop.customer()["plan_id"] == "pro"


class TestTheSubscription:
    def test_its_periods_are_ours(self, shop: Shop) -> None:
        shop.subscribe()
        [row] = shop.ledger.rows("SELECT * FROM subscriptions")
        assert (row["status"], row["plan_id"]) == ("active", "pro")
        assert f"{row['period_end']:%Y-%m-%d %H:%M:%S}" == "2026-12-01 00:00:00"

    def test_the_fee_of_the_time_that_stripe_leaves_free_comes_on_its_next_invoice(self, shop: Shop) -> None:
        subscription = shop.subscribe()
        [item] = shop.client.v1.invoice_items.list().data
        assert (item.amount, item.invoice) == (9_900, None)
        assert item.metadata is not None
        assert item.metadata.to_dict() == {"tollkeeper_first_fee": subscription}

    def test_where_the_period_is_metered_by_another_plan_there_is_no_such_fee(self, shop: Shop) -> None:
        shop.ledger.use("ada", tokens_in=10, at=shop.clock.now())
        shop.subscribe()
        assert first_fees(shop) == []

    def test_a_second_one_is_refused_while_the_first_one_runs(self, shop: Shop) -> None:
        shop.subscribe()
        with pytest.raises(AlreadySubscribed, match="2026-12-01"):
            shop.checkout()


class TestWhatCannotBeCheckedOut:
    def test_a_plan_that_nobody_subscribes_to(self, shop: Shop) -> None:
        with pytest.raises(InvalidInput, match="meters"):
            shop.checkout(plan_id="free")

    def test_a_plan_whose_price_changed_since_the_setup(self, shop: Shop) -> None:
        shop.ledger.plan(PRO.replace('"0.003"', '"0.004"'), shop.clock.now())
        with pytest.raises(NotSetUp, match="tollkeeper stripe setup"):
            shop.checkout()
        shop.set_up()
        assert shop.checkout().session_id.startswith("cs_")


def test_the_portal_is_a_new_address_for_each_click(shop: Shop) -> None:
    first, second = (open_portal(shop.ledger.database, shop.selling, "ada", now=shop.clock.now()) for _ in range(2))
    assert first != second
    assert first.startswith("https://billing.stripe.com/")
