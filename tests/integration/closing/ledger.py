"""A small business to close the books of: plans, customers, and usage stored the way requests store it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.domain.usage import Usage
from tollkeeper.services.closing import ClosingSummary, close_due
from tollkeeper.services.onboarding import add_customer
from tollkeeper.services.planning import apply_plans
from tollkeeper.storage.database import Database, all_rows, change
from tollkeeper.storage.settlement import Settled, Settlement

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
JANUARY = datetime(2027, 1, 1, tzinfo=UTC)

# Free to 100,000 tokens, then 0.003 dollars, then 0.002 for a thousand.
TIERED = """
[plans.tiered]
name = "Tiered"
currency = "usd"
quota_tokens = 1_000_000
[[plans.tiered.prices]]
model = "gpt-4o*"
token_type = "*"
tiers_mode = "graduated"
per = 1_000
tiers = [
  { up_to = 100_000, price = "0" },
  { up_to = 1_000_000, price = "0.003" },
  { up_to = "inf", price = "0.002" },
]
"""
# One cent a token: sums that anybody can check.
CENT = """
[plans.cent]
name = "Cent"
currency = "usd"
[[plans.cent.prices]]
model = "*"
token_type = "*"
price = "0.01"
"""
WITH_FEE = """
[plans.fee]
name = "Fee"
currency = "usd"
base_fee = "99.00"
[[plans.fee.prices]]
model = "*"
token_type = "*"
price = "0.01"
"""


def wait_until(happened: Callable[[], bool], seconds: float = 30) -> None:
    """Return once something has happened; fails where it does not."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.002)


@dataclass
class Ledger:
    """One database, driven by the project's own services."""

    database: Database
    collect: str = "meters"

    def plan(self, text: str, now: datetime = NOVEMBER, *, immediate: bool = False) -> None:
        apply_plans(self.database, parse_plans(text), now, immediate=immediate)

    def customer(
        self,
        user_id: str = "ada",
        plan: str = "cent",
        *,
        since: datetime = NOVEMBER,
        anchor: datetime | None = None,
        stripe: str | None = None,
    ) -> str:
        add_customer(
            self.database,
            user_id,
            email="ada@example.com",
            plan_id=plan,
            now=since,
            period_anchor=anchor,
            stripe_customer_id=stripe,
        )
        return user_id

    def use(
        self,
        user_id: str = "ada",
        tokens_in: int = 0,
        tokens_out: int = 0,
        *,
        at: datetime = NOVEMBER + timedelta(days=14),
        stored: datetime | None = None,
        model: str = "gpt-4o",
        event_id: UUID | None = None,
        **more: Any,
    ) -> UsageEvent:
        event = UsageEvent(event_id or uuid4(), user_id, at, Usage(model, tokens_in, tokens_out, **more), 200)
        [answer] = self.store([event], stored or at)
        assert isinstance(answer, Settled), answer
        assert answer.status == "accepted"
        return event

    def store(self, events: Sequence[UsageEvent], now: datetime) -> list[Settled | Exception]:
        async def settle() -> list[Settled | Exception]:
            async with Settlement(self.database.url, self.database.schema) as settlement:
                return await settlement.settle(events, now=now)

        return asyncio.run(settle())

    def close(
        self, as_of: datetime = DECEMBER, *, now: datetime | None = None, grace: int = 0, **more: Any
    ) -> ClosingSummary:
        return close_due(
            self.database,
            now=now or as_of + timedelta(minutes=5),
            as_of=as_of,
            grace_seconds=grace,
            collect=self.collect,  # type: ignore[arg-type] # the tests name the three values themselves
            **more,
        )

    def rows(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        with self.database.transaction() as connection:
            return all_rows(connection, statement, **parameters)

    def run(self, statement: str, **parameters: object) -> int:
        with self.database.transaction() as connection:
            return change(connection, statement, **parameters)

    def tamper(self, statement: str, **parameters: object) -> int:
        """Change what the database keeps from being changed."""
        with self.database.transaction() as connection:
            change(connection, "SET LOCAL session_replication_role = replica")
            return change(connection, statement, **parameters)

    def invoices(self, user_id: str = "ada") -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM invoices WHERE user_id = :user ORDER BY period_start, revision", user=user_id)

    def lines(self, user_id: str = "ada") -> list[tuple[str, str | None, str | None, Decimal, int]]:
        """Every line of the customer's invoices: kind, patterns, quantity, amount."""
        rows = self.rows(
            """
            SELECT l.* FROM invoice_line_items AS l JOIN invoices AS i ON i.id = l.invoice_id
            WHERE i.user_id = :user ORDER BY i.period_start, i.revision, l.position
            """,
            user=user_id,
        )
        return [(row["kind"], row["model_id"], row["token_type"], row["quantity"], row["amount"]) for row in rows]

    def period(self, user_id: str = "ada", start: datetime = NOVEMBER) -> dict[str, Any]:
        [row] = self.rows(
            "SELECT * FROM usage_periods WHERE user_id = :user AND period_start = :start", user=user_id, start=start
        )
        return row
