"""The account that a rehearsal plays in: a sandbox at Stripe, or the stand-in, driven alike.

A test clock moves Stripe's time; ours is a frozen clock that is moved along. In a sandbox answers come when they come, so
whatever is waited for is looked at again until it is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.payments.stripe_catalog import SNAPSHOT_EVENTS
from tollkeeper.payments.stripe_selling import OUR_USER, StripeSelling
from tollkeeper.services.receiving import apply_pending_webhooks, receive_stripe
from tollkeeper.services.subscribing import PaymentSide
from tollkeeper.storage.database import Database
from tollkeeper.testing import FrozenClock, sign_stripe

_SECRET = "whsec_of_the_rehearsal"  # noqa: S105 # we are both ends of it
_PAUSE_SECONDS = 2.0
GOOD_CARD, BAD_CARD = "pm_card_visa", "pm_card_chargeCustomerFail"


class DidNotHappen(TollkeeperError):
    """Something that the rehearsal waited for did not come."""


class World:
    """One account and one customer in it whose time is a test clock's."""

    def __init__(self, payments: StripePayments, database: Database, clock: FrozenClock, patience: float) -> None:
        self.payments = payments
        self.client = payments.ask(lambda client: client)
        self.database = database
        self.clock = clock
        self.side = PaymentSide(StripeSelling(payments), grace=timedelta(days=7))
        self._patience = patience
        self._heard: set[str] = set()
        self._test_clock = self.client.v1.test_helpers.test_clocks.create(
            {"frozen_time": int(clock.now().timestamp()), "name": "tollkeeper rehearsal"}
        ).id

    def close(self) -> None:
        """Delete the test clock, and with it the customer and all that is theirs."""
        self.client.v1.test_helpers.test_clocks.delete(self._test_clock)

    def customer(self, user_id: str) -> str:
        """A customer on the test clock, with a card that pays."""
        made = self.client.v1.customers.create(
            {
                "test_clock": self._test_clock,
                "metadata": {OUR_USER: user_id},
                "payment_method": GOOD_CARD,
                "invoice_settings": {"default_payment_method": GOOD_CARD},
            }
        )
        return made.id

    def give_card(self, customer: str, card: str) -> None:
        """Another default card."""
        method = self.client.v1.payment_methods.attach(card, {"customer": customer}).id
        self.client.v1.customers.update(customer, {"invoice_settings": {"default_payment_method": method}})

    def go_to(self, at: datetime) -> None:
        """Let it be this time on both sides, and hear what happened."""
        self.client.v1.test_helpers.test_clocks.advance(self._test_clock, {"frozen_time": int(at.timestamp())})
        self.wait("the test clock to stand again", self._is_ready)
        self.clock.set(at)
        self.hear()

    def wait(self, what: str, happened: Callable[[], bool]) -> None:
        """Return once it is so; `DidNotHappen` where it does not come to be."""
        until = time.monotonic() + self._patience
        while not happened():
            if time.monotonic() >= until:
                raise DidNotHappen(f"waited in vain for {what}")
            time.sleep(_PAUSE_SECONDS)
            self.hear()

    def hear(self) -> None:
        """Take in every event of the customer's that was not heard yet, as if it had come by webhook."""
        for event in reversed(self._news()):
            body, now = json.dumps(event).encode(), self.clock.now()
            receive_stripe(self.database, body, sign_stripe(body, _SECRET, now), _SECRET, now=now, side=self.side)
            self._heard.add(event["id"])
        apply_pending_webhooks(self.database, now=self.clock.now(), side=self.side)

    def _news(self) -> list[dict[str, Any]]:
        listed = self.client.v1.events.list({"types": list(SNAPSHOT_EVENTS), "limit": 100})
        news: list[dict[str, Any]] = []
        for event in listed.auto_paging_iter():
            if event.id in self._heard or len(news) >= 1_000:
                break
            news.append(event.to_dict(for_json=True))
        return news

    def _is_ready(self) -> bool:
        status = self.client.v1.test_helpers.test_clocks.retrieve(self._test_clock).status
        if status == "internal_failure":
            raise DidNotHappen("Stripe's test clock failed")
        return status == "ready"
