"""Subscriptions follow their plan: fees before the boundary, metered prices after the closed period is priced."""

from __future__ import annotations

from datetime import timedelta

import pytest

from integration.closing.ledger import DECEMBER
from integration.stripe_setup.shop import PRO, Shop
from tollkeeper.services.checking_out import AlreadySubscribed
from tollkeeper.services.following import LOOK_AGAIN, follow_plans
from tollkeeper.services.moving import move_customer

HOUR = timedelta(hours=1)
MAX = (
    PRO
    + """
[plans.max]
name = "Max"
currency = "usd"
base_fee = "299.00"
[[plans.max.prices]]
per = 1_000
price = "0.001"
"""
)


def follow(shop: Shop) -> int:
    now = shop.clock.advance(LOOK_AGAIN)
    return follow_plans(shop.ledger.database, shop.side, shop.selling, now=now)


def sold(shop: Shop) -> set[str]:
    """Our names for the prices of the one subscription, as it stands at Stripe."""
    [subscription] = shop.client.v1.subscriptions.list().data
    prices = [item.price.id for item in subscription["items"].data]
    rows = shop.ledger.rows("SELECT key, active FROM stripe_objects WHERE stripe_id = ANY(:ids)", ids=prices)
    return {f"{row['key'].removeprefix('tollkeeper:')}{'' if row['active'] else ' before'}" for row in rows}


def to_december(shop: Shop, minutes: int = 0) -> None:
    shop.clock.set(DECEMBER + timedelta(minutes=minutes))
    shop.standin.pass_time()
    shop.tell_news()


@pytest.fixture
def subscribed(shop: Shop) -> Shop:
    shop.subscribe()
    shop.ledger.use("ada", tokens_in=1_000, at=shop.clock.now())
    return shop


def test_while_nothing_changed_nothing_is_done(subscribed: Shop) -> None:
    calls = len(subscribed.standin.calls())
    assert follow(subscribed) == 0
    assert len(subscribed.standin.calls()) == calls


class TestAnotherPlan:
    @pytest.fixture
    def moved(self, subscribed: Shop) -> Shop:
        subscribed.ledger.plan(MAX, subscribed.clock.now())
        subscribed.set_up()
        move_customer(subscribed.ledger.database, "ada", "max", subscribed.clock.now())
        return subscribed

    def test_its_fee_is_taken_from_the_next_period_on_and_usage_until_then_is_priced_as_before(
        self, moved: Shop
    ) -> None:
        assert follow(moved) == 1
        assert sold(moved) == {"max:base", "pro:ai_tokens"}
        assert follow(moved) == 0
        to_december(moved, minutes=10)
        assert follow(moved) == 0, "the draft of November still has to be priced"
        to_december(moved, minutes=70)
        assert follow(moved) == 1
        assert sold(moved) == {"max:base", "max:ai_tokens"}
        [renewal] = moved.client.v1.invoices.list().data
        # the first fee, November's usage within the free tier of pro, and December's fee of max
        assert sorted(line.amount for line in renewal.lines.data) == [0, 9_900, 29_900]

    def test_the_events_of_the_change_itself_move_nobody_back(self, moved: Shop) -> None:
        follow(moved)
        moved.tell_news()
        moved.tell(moved.standin.events())
        assert moved.customer()["plan_id"] == "max"
        assert moved.ledger.rows("SELECT plan_id FROM subscriptions") == [{"plan_id": "max"}]

    def test_while_stripe_is_away_it_is_tried_again(self, moved: Shop) -> None:
        moved.standin.inject("drop_before", method="POST", path="/v1/subscriptions/*")
        assert follow(moved) == 0
        assert follow(moved) == 1

    def test_until_the_setup_has_made_its_prices_it_waits(self, subscribed: Shop) -> None:
        subscribed.ledger.plan(MAX, subscribed.clock.now())
        move_customer(subscribed.ledger.database, "ada", "max", subscribed.clock.now())
        assert follow(subscribed) == 0
        subscribed.set_up()
        assert follow(subscribed) == 1

    def test_no_checkout_is_needed_for_it(self, moved: Shop) -> None:
        with pytest.raises(AlreadySubscribed, match="tollkeeper customers plan"):
            moved.checkout(plan_id="max")


def test_a_plan_that_charges_something_else_is_followed_from_the_next_period_on(subscribed: Shop) -> None:
    subscribed.ledger.plan(PRO.replace('"0.003"', '"0.004"'), subscribed.clock.now())
    subscribed.set_up()
    assert follow(subscribed) == 0
    assert sold(subscribed) == {"pro:base", "pro:ai_tokens before"}
    to_december(subscribed, minutes=70)
    assert follow(subscribed) == 1
    assert sold(subscribed) == {"pro:base", "pro:ai_tokens"}


def test_a_subscription_that_is_to_end_is_left_as_it_is(subscribed: Shop) -> None:
    [subscription] = subscribed.client.v1.subscriptions.list().data
    subscribed.client.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    subscribed.tell_news()
    subscribed.ledger.plan(PRO.replace('"99.00"', '"79.00"'), subscribed.clock.now())
    subscribed.set_up()
    assert follow(subscribed) == 0
