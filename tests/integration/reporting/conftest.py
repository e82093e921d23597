from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from integration.closing.ledger import CENT, DECEMBER, Ledger
from integration.closing.shared import ledger, shared_database
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.services.reporting import Confirming, ReportingSummary, confirm_reported, report_owed
from tollkeeper.testing import FrozenClock, StripeStandIn

__all__ = ["ledger", "shared_database"]

CUSTOMER = "cus_ada"


@dataclass
class Reporting:
    """A ledger with closed periods, and the Stripe that is told of them."""

    ledger: Ledger
    standin: StripeStandIn
    stripe: StripePayments
    clock: FrozenClock

    def close(self, *usage: int, user_id: str = "ada", stripe: str | None = CUSTOMER, **more: Any) -> None:
        """A customer whose November held these token counts, each of its own model, closed at the clock's time."""
        self.ledger.plan(CENT)
        self.ledger.customer(user_id, stripe=stripe)
        for n, tokens in enumerate(usage):
            self.ledger.use(user_id, tokens_in=tokens, model=f"model-{n}", **more)
        self.ledger.close(now=self.clock.now())

    def report(self, **more: Any) -> ReportingSummary:
        return report_owed(self.ledger.database, self.stripe, now=self.clock.now(), **more)

    def confirm(self, **more: Any) -> Confirming:
        return confirm_reported(self.ledger.database, self.stripe, now=self.clock.now(), **more)

    def wait(self, **delta: float) -> datetime:
        return self.clock.advance(timedelta(**delta))

    def rows(self) -> list[dict[str, Any]]:
        return self.ledger.rows("SELECT * FROM stripe_reports ORDER BY period_start, model_id, token_type, revision")

    def states(self) -> list[str]:
        return [row["state"] for row in self.rows()]

    def invoice_status(self, user_id: str = "ada") -> list[str]:
        return [invoice["status"] for invoice in self.ledger.invoices(user_id)]

    def counted(self, customer: str = CUSTOMER) -> Decimal:
        """What Stripe has counted for a customer, whenever."""
        events = [event for event in self.standin.meter_events() if event["status"] == "counted"]
        return sum(
            (Decimal(event["payload"]["value"]) for event in events if event["customer"] == customer), Decimal(0)
        )

    def sent(self) -> list[dict[str, Any]]:
        return [call for call in self.standin.calls() if call["path"] == "/v1/billing/meter_events"]


@pytest.fixture
def clock() -> FrozenClock:
    """Five minutes after November's end."""
    return FrozenClock(DECEMBER + timedelta(minutes=5))


@pytest.fixture
def reporting(ledger: Ledger, clock: FrozenClock) -> Iterator[Reporting]:
    standin = StripeStandIn(clock)
    standin.add_customer(CUSTOMER)
    standin.add_meter("ai_tokens")
    with standin.serve() as server:
        stripe = StripePayments(standin.api_key, api_base=server.url, timeout_seconds=5)
        yield Reporting(ledger, standin, stripe, clock)
