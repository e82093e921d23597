"""A database with a plan or two, and customers on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.services.onboarding import add_customer
from tollkeeper.services.planning import PlanChange, apply_plans
from tollkeeper.storage.database import Database

BEGINNING = datetime(2026, 10, 20, tzinfo=UTC)

PLANS = """
[plans.pro]
name = "Pro"
currency = "usd"
base_fee = "99.00"
spend_cap = "250.00"
quota_tokens = 1_000
rate_limit = "60/minute"

[[plans.pro.prices]]
model = "gpt-4o*"
per = 1_000
tiers = [
  { up_to = 100_000, price = "0" },
  { up_to = 1_000_000, price = "0.003" },
  { up_to = "inf", price = "0.002" },
]

[plans.free]
currency = "usd"
spend_cap = "0"

[plans.anniversary]
currency = "usd"
interval = "anniversary"

[plans.euro]
currency = "eur"
"""

Apply = Callable[..., list[PlanChange]]


@pytest.fixture
def database(migrated_database_url: str) -> Iterator[Database]:
    with Database(migrated_database_url) as database:
        yield database


@pytest.fixture
def apply(database: Database) -> Apply:
    """Apply a plan file, given as text, at an instant."""

    def apply(text: str = PLANS, now: datetime = BEGINNING, **how: bool) -> list[PlanChange]:
        return apply_plans(database, parse_plans(text), now, **how)

    return apply


@pytest.fixture
def ada(database: Database, apply: Apply) -> str:
    """A customer on `pro`."""
    apply()
    return add_customer(database, "ada", email="ada@example.com", plan_id="pro", now=BEGINNING).customer.user_id
