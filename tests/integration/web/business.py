"""A business that the pages have something to show of: customers who use much, little, too much and nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from integration.closing.ledger import Ledger
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage
from tollkeeper.services.onboarding import issue_key
from tollkeeper.storage.settlement import Settled

MAY = datetime(2026, 5, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
TODAY = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)

PLANS = """
[plans.pro]
name = "Pro"
currency = "usd"
base_fee = "99.00"
spend_cap = "250.00"
at_cap = "block"
quota_tokens = 40_000_000
included_tokens = 1_000_000
rate_limit = "600/minute"
[[plans.pro.prices]]
model = "gpt-4o*"
token_type = "input"
per = 1_000_000
tiers = [{ up_to = 20_000_000, price = "4.00" }, { up_to = "inf", price = "3.50" }]
[[plans.pro.prices]]
model = "gpt-4o*"
token_type = "output"
per = 1_000_000
price = "14.00"
[[plans.pro.prices]]
model = "claude-*"
token_type = "*"
per = 1_000_000
price = "9.00"

[plans.free]
name = "Free"
currency = "usd"
quota_tokens = 100_000
[[plans.free.prices]]
model = "*"
token_type = "*"
price = "0"
"""
# By customer: when they came, how much they use, and how fast that grows.
CUSTOMERS = {
    "acme-robotics": (MAY, 4_000, 1.03),
    "blue-heron-labs": (datetime(2026, 7, 1, tzinfo=UTC), 2_100, 1.08),
    "tiny-startup": (datetime(2026, 9, 1, tzinfo=UTC), 160, 1.0),
    "northwind": (datetime(2026, 8, 1, tzinfo=UTC), 900, 1.2),
}
MODELS = (("gpt-4o", 5), ("gpt-4o-mini", 3), ("claude-sonnet-4-5", 2))


def open_business(ledger: Ledger) -> dict[str, str]:
    """Make the plans and customers and let them use the API until `TODAY`; API keys by customer."""
    ledger.plan(PLANS, MAY)
    events: list[UsageEvent] = []
    for number, (user_id, (since, size, growth)) in enumerate(CUSTOMERS.items()):
        add(ledger, user_id, "pro", since)
        events += _events(user_id, since, size, growth, random.Random(number))
    add(ledger, "curious", "free", MAY)
    assert all(isinstance(answer, Settled) for answer in ledger.store(events, TODAY))
    ledger.use("northwind", tokens_in=12_000, model="mystery-1", at=NOVEMBER - timedelta(days=2))
    ledger.use("curious", tokens_in=3, at=NOVEMBER - timedelta(days=2))
    ledger.run("UPDATE usage_periods SET tokens = 4, totals = '{}' WHERE user_id = 'curious'")
    ledger.close(NOVEMBER)
    ledger.run(
        """
        UPDATE invoices SET status = 'paid', finalized_at = period_end + interval '1 hour',
                            paid_at = period_end + interval '3 days'
        WHERE user_id = 'acme-robotics' OR period_end < :november
        """,
        november=NOVEMBER,
    )
    ledger.run("UPDATE customers SET own_spend_cap = 12000 WHERE user_id = 'blue-heron-labs'")
    return {user_id: issue_key(ledger.database, user_id, MAY) for user_id in (*CUSTOMERS, "curious")}


def add(ledger: Ledger, user_id: str, plan: str, since: datetime) -> None:
    """Add a customer with an address and an id at Stripe that look like it."""
    ledger.customer(user_id, plan, since=since, stripe=f"cus_{user_id.replace('-', '')}")
    ledger.run(
        "UPDATE customers SET email = :email WHERE user_id = :user", email=f"ops@{user_id}.example", user=user_id
    )


def _events(user_id: str, since: datetime, size: int, growth: float, dice: random.Random) -> list[UsageEvent]:
    """A few large requests a day long ago, more and smaller ones in the month of now."""
    return [
        _event(user_id, at, int(size * growth ** ((at - since).days / 30) / requests), dice)
        for at, requests in _moments(since, dice)
    ]


def _moments(since: datetime, dice: random.Random) -> Iterator[tuple[datetime, int]]:
    day = since
    while day < TODAY:
        requests = 10 if day >= NOVEMBER else 2
        for _ in range(requests if day.weekday() < 5 else requests // 2):
            at = day + timedelta(hours=dice.randrange(8, 19), minutes=dice.randrange(60))
            if at < TODAY:
                yield at, requests
        day += timedelta(days=1)


def _event(user_id: str, at: datetime, size: int, dice: random.Random) -> UsageEvent:
    model = dice.choices([name for name, _ in MODELS], [weight for _, weight in MODELS])[0]
    tokens_in = int(size * dice.uniform(120, 420))
    usage = Usage(model, tokens_in, int(tokens_in * dice.uniform(0.1, 0.3)), cached_tokens_in=tokens_in // 4)
    event_id = UUID(int=dice.getrandbits(128))
    return UsageEvent(event_id, user_id, at, usage, 200, method="POST", path="/v1/chat/completions")
