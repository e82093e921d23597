from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from integration.closing.ledger import DECEMBER, Ledger
from integration.closing.shared import ledger, shared_database
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.payments.stripe_invoices import StripeInvoices, StripeItems
from tollkeeper.services.collecting import CollectingSummary, Collectors, collect_owed, follow_collected
from tollkeeper.testing import FrozenClock, StripeStandIn

__all__ = ["ledger", "shared_database"]

CUSTOMER = "cus_ada"
PRICED_BY_US = """
[plans.ours]
name = "Ours"
currency = "usd"
collect = "invoices"
base_fee = "10.00"
[[plans.ours.prices]]
model = "*"
token_type = "*"
price = "0.01"
"""


@dataclass
class Collecting:
    """A ledger with closed periods, and the Stripe that collects their invoices."""

    ledger: Ledger
    standin: StripeStandIn
    stripe: StripePayments
    clock: FrozenClock
    collectors: Collectors = field(init=False)

    def __post_init__(self) -> None:
        self.collectors = {"stripe": StripeInvoices(self.stripe), "stripe_items": StripeItems(self.stripe)}

    def close(self, *usage: int, plan: str = PRICED_BY_US, user_id: str = "ada", stripe: str | None = CUSTOMER) -> None:
        """A customer whose November held these token counts, each of its own model, closed at the clock's time."""
        self.ledger.plan(plan)
        self.ledger.customer(user_id, "ours", stripe=stripe)
        for n, tokens in enumerate(usage):
            self.ledger.use(user_id, tokens_in=tokens, model=f"model-{n}")
        self.ledger.close(now=self.clock.now())

    def collect(self, **more: Any) -> CollectingSummary:
        return collect_owed(self.ledger.database, self.collectors, now=self.clock.now(), **more)

    def follow(self) -> int:
        return follow_collected(self.ledger.database, self.collectors, now=self.clock.now())

    def wait(self, **delta: float) -> datetime:
        return self.clock.advance(timedelta(**delta))

    def rows(self) -> list[dict[str, Any]]:
        return self.ledger.rows("SELECT * FROM collections ORDER BY created_at, user_id")

    def invoice(self, user_id: str = "ada") -> dict[str, Any]:
        [invoice] = self.ledger.invoices(user_id)
        return invoice

    def at_stripe(self) -> list[dict[str, Any]]:
        return self.standin.invoices()

    def made(self, path: str = "/v1/invoices") -> list[dict[str, Any]]:
        return [call for call in self.standin.calls() if (call["method"], call["path"]) == ("POST", path)]


@pytest.fixture
def clock() -> FrozenClock:
    """Five minutes after November's end."""
    return FrozenClock(DECEMBER + timedelta(minutes=5))


@pytest.fixture
def collecting(ledger: Ledger, clock: FrozenClock) -> Iterator[Collecting]:
    standin = StripeStandIn(clock)
    standin.add_customer(CUSTOMER)
    with standin.serve() as server:
        stripe = StripePayments(standin.api_key, api_base=server.url, timeout_seconds=5)
        yield Collecting(ledger, standin, stripe, clock)
