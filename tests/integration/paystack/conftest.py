from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.closing.ledger import DECEMBER, Ledger
from integration.closing.shared import ledger, shared_database
from integration.switch import Switch, switch
from tollkeeper.payments.paystack import PaystackPayments
from tollkeeper.payments.paystack_invoices import PaystackInvoices
from tollkeeper.services.authorizing import cards_of, choose_card
from tollkeeper.services.collecting import CollectingSummary, Collectors, collect_owed, follow_collected
from tollkeeper.services.receiving import Received, apply_pending_webhooks, receive_paystack
from tollkeeper.testing import FrozenClock, PaystackStandIn, sign_paystack

__all__ = ["ledger", "shared_database", "switch"]

ADA = "ada@example.com"
# 50 kobo a token, and 5,000 naira a month.
NAIRA = """
[plans.naira]
name = "Naira"
currency = "ngn"
collector = "paystack"
base_fee = "5000.00"
[[plans.naira.prices]]
model = "*"
token_type = "*"
price = "0.50"
"""


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(datetime(2026, 11, 1, 0, 6, tzinfo=UTC))


@pytest.fixture
def standin(clock: FrozenClock) -> PaystackStandIn:
    return PaystackStandIn(clock)


@pytest.fixture
def url(standin: PaystackStandIn, switch: Switch) -> str:
    switch.app = standin.app
    return switch.url


@pytest.fixture
def payments(standin: PaystackStandIn, url: str) -> PaystackPayments:
    return PaystackPayments(standin.secret_key, api_base=url, timeout_seconds=5)


@dataclass
class Collecting:
    """A ledger with a closed November in naira, and the Paystack that collects it."""

    ledger: Ledger
    standin: PaystackStandIn
    payments: PaystackPayments
    clock: FrozenClock
    url: str
    collectors: Collectors = field(init=False)
    sent: int = 0

    def __post_init__(self) -> None:
        self.collectors = {"paystack": PaystackInvoices(self.payments, cards_of(self.ledger.database))}

    def close(self, tokens: int = 100, *, plan: str = NAIRA, user_id: str = "ada") -> None:
        """A customer who used so many tokens in November, closed at the clock's time."""
        self.ledger.plan(plan)
        self.ledger.customer(user_id, plan.split("[plans.")[1].split("]")[0])
        if tokens:
            self.ledger.use(user_id, tokens_in=tokens)
        self.ledger.close(now=self.clock.now())

    def card(self, *outcomes: str) -> str:
        """Ada's card, stored at Paystack and chosen to be charged."""
        code = self.standin.add_card(ADA, outcomes=outcomes)
        choose_card(self.ledger.database, self.payments, "ada", "4081", self.clock.now())
        return code

    def collect(self, **more: Any) -> CollectingSummary:
        return collect_owed(self.ledger.database, self.collectors, now=self.clock.now(), **more)

    def follow(self, **more: Any) -> int:
        return follow_collected(self.ledger.database, self.collectors, now=self.clock.now(), **more)

    def wait(self, **delta: float) -> datetime:
        return self.clock.advance(timedelta(**delta))

    def receive(self, event: dict[str, Any]) -> Received:
        """An event as Paystack sends it, and this side takes it in."""
        body, key = json.dumps(event).encode(), self.standin.secret_key
        return receive_paystack(self.ledger.database, body, sign_paystack(body, key), key, now=self.clock.now())

    def hear(self) -> list[str]:
        """Receive everything that Paystack has to say and did not say before; what was made of each."""
        events = self.standin.events()[self.sent :]
        self.sent += len(events)
        return [self.receive(event).state for event in events]

    def apply_pending(self) -> int:
        return apply_pending_webhooks(self.ledger.database, now=self.clock.now())

    def invoice(self, user_id: str = "ada") -> dict[str, Any]:
        [invoice] = self.ledger.invoices(user_id)
        return invoice

    def row(self) -> dict[str, Any]:
        [row] = self.ledger.rows("SELECT * FROM collections")
        return row

    def payable(self) -> list[dict[str, Any]]:
        """Payment requests that a customer can pay, or has paid."""
        return [one for one in self.standin.payment_requests() if one["status"] != "draft" and not one.get("archived")]


@pytest.fixture
def collecting(
    ledger: Ledger, standin: PaystackStandIn, payments: PaystackPayments, clock: FrozenClock, url: str
) -> Collecting:
    """Five minutes after November's end."""
    clock.set(DECEMBER + timedelta(minutes=5))
    return Collecting(ledger, standin, payments, clock, url)
