"""A business that the pages have something to show of: customers who use much, little, too much and nothing."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

from integration.closing.ledger import Ledger
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage
from tollkeeper.services.onboarding import issue_key
from tollkeeper.storage.settlement import Settled

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
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
MODELS = (("gpt-4o", 5), ("gpt-4o-mini", 3), ("claude-sonnet-4-5", 2))


def open_business(ledger: Ledger) -> dict[str, str]:
    """Make the plans and customers and let them use the API from October to `TODAY`; API keys by customer."""
    ledger.plan(PLANS, OCTOBER)
    sizes = {"acme-robotics": 220, "blue-heron-labs": 170, "tiny-startup": 12, "northwind": 80}
    for user_id in sizes:
        ledger.customer(user_id, "pro", since=OCTOBER, stripe=f"cus_{user_id.replace('-', '')}")
    ledger.customer("curious", "free", since=OCTOBER)
    for number, (user_id, size) in enumerate(sizes.items()):
        events = _events(user_id, size, OCTOBER, NOVEMBER, number) + _events(
            user_id, size, NOVEMBER, TODAY, number + 50
        )
        assert all(isinstance(answer, Settled) for answer in ledger.store(events, TODAY))
    ledger.use("northwind", tokens_in=12_000, model="mystery-1", at=NOVEMBER - timedelta(days=2))
    ledger.use("curious", tokens_in=3, at=NOVEMBER - timedelta(days=2))
    ledger.run("UPDATE usage_periods SET tokens = 4, totals = '{}' WHERE user_id = 'curious'")
    ledger.close(NOVEMBER)
    ledger.run(
        "UPDATE invoices SET status = 'paid', finalized_at = :at, paid_at = :at WHERE user_id = 'acme-robotics'",
        at=NOVEMBER + timedelta(days=3),
    )
    ledger.run("UPDATE customers SET own_spend_cap = 9000 WHERE user_id = 'blue-heron-labs'")
    return {user_id: issue_key(ledger.database, user_id, OCTOBER) for user_id in (*sizes, "curious")}


def _events(user_id: str, size: int, start: datetime, end: datetime, seed: int) -> list[UsageEvent]:
    dice = random.Random(seed)
    events = []
    at = start + timedelta(hours=9)
    while at < end:
        busy = 0.35 if at.weekday() > 4 else 1.0
        for _ in range(12):
            model = dice.choices([name for name, _ in MODELS], [weight for _, weight in MODELS])[0]
            tokens_in = int(dice.randrange(125, 500) * size * busy)
            usage = Usage(model, tokens_in, int(tokens_in * dice.uniform(0.1, 0.3)), cached_tokens_in=tokens_in // 4)
            events.append(
                UsageEvent(
                    UUID(int=dice.getrandbits(128)), user_id, at, usage, 200, method="POST", path="/v1/chat/completions"
                )
            )
            at += timedelta(minutes=dice.randrange(20, 55))
        at = at.replace(hour=9) + timedelta(days=1)
    return events
