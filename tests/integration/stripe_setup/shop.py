"""A seller with a plan to subscribe to, driven by the project's own services against the stand-in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import stripe

from integration.closing.ledger import Ledger
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.payments.stripe_catalog import StripeCatalog
from tollkeeper.payments.stripe_selling import StripeSelling
from tollkeeper.services.checking_out import Started, start_checkout
from tollkeeper.services.provisioning import set_up
from tollkeeper.services.receiving import apply_pending_webhooks, receive_stripe
from tollkeeper.services.subscribing import PaymentSide
from tollkeeper.testing import FrozenClock, StripeStandIn, sign_stripe

URL = "https://api.example.com/billing"
SECRET = "whsec_of_the_shop"
PRO = """
[plans.pro]
name = "Pro"
currency = "usd"
base_fee = "99.00"
rate_limit = "60/minute"
on_unpaid = "throttle"
[[plans.pro.prices]]
per = 1_000
tiers = [{ up_to = 100_000, price = "0" }, { up_to = "inf", price = "0.003" }]
[plans.free]
name = "Free"
currency = "usd"
collect = "off"
"""


class Shop:
    def __init__(self, ledger: Ledger, standin: StripeStandIn, url: str, clock: FrozenClock) -> None:
        self.ledger, self.standin, self.url, self.clock = ledger, standin, url, clock
        self.payments = StripePayments(standin.api_key, api_base=url, timeout_seconds=5)
        self.side = PaymentSide(StripeSelling(self.payments), grace=timedelta(days=7))
        self.client = stripe.StripeClient(standin.api_key, base_addresses={"api": url})

    @property
    def selling(self) -> StripeSelling:
        assert self.side.selling is not None
        return self.side.selling

    def set_up(self) -> None:
        set_up(self.ledger.database, StripeCatalog(self.payments), now=self.clock.now(), public_url=URL)

    def with_default_plan(self, plan_id: str | None) -> None:
        self.side = replace(self.side, default_plan=plan_id)

    def checkout(self, user_id: str = "ada", plan_id: str = "pro") -> Started:
        return start_checkout(
            self.ledger.database,
            self.selling,
            user_id,
            plan_id,
            now=self.clock.now(),
            success_url="https://app.example.com/done?session_id={CHECKOUT_SESSION_ID}",
        )

    def subscribe(self, user_id: str = "ada") -> str:
        """Checked out, paid and told: the subscription's id."""
        subscription = self.standin.complete_checkout(self.checkout(user_id).session_id)
        self.tell(self.standin.events())
        return str(subscription["id"])

    def tell(self, events: Sequence[dict[str, Any]]) -> list[str]:
        """Has these events delivered, in this order; what was made of each."""
        now = self.clock.now()
        states: list[str] = []
        for event in events:
            body = json.dumps(event).encode()
            received = receive_stripe(
                self.ledger.database, body, sign_stripe(body, SECRET, now), SECRET, now=now, side=self.side
            )
            states.append(received.state)
        return states

    def tell_news(self) -> list[str]:
        """Delivers every event that was not heard of yet."""
        known = {row["event_id"] for row in self.ledger.rows("SELECT event_id FROM webhook_events")}
        return self.tell([event for event in self.standin.events() if event["id"] not in known])

    def apply_pending(self) -> int:
        return apply_pending_webhooks(self.ledger.database, now=self.clock.now(), side=self.side)

    def customer(self, user_id: str = "ada") -> dict[str, Any]:
        [row] = self.ledger.rows("SELECT * FROM customers WHERE user_id = :user", user=user_id)
        return row

    def made_at_stripe(self, user_id: str = "ada") -> int:
        """How many of Stripe's customers are this one."""
        found = self.client.v1.customers.list({"limit": 100}).data
        return sum(one.metadata.to_dict().get("tollkeeper_user_id") == user_id for one in found if one.metadata)
