"""A price that counts for open periods too, against the sums by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage
from tollkeeper.services.onboarding import add_customer
from tollkeeper.services.planning import PlanChange
from tollkeeper.services.repricing import reprice_open_periods
from tollkeeper.storage.database import Database, all_rows, change
from tollkeeper.storage.settlement import Settlement

OCTOBER = datetime(2026, 10, 20, tzinfo=UTC)
NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)

PLAN = """
[plans.pro]
currency = "usd"

[[plans.pro.prices]]
model = "gpt-4o"
per = 1_000
tiers = [ {{ up_to = 1_000, price = "{first}" }}, {{ up_to = "inf", price = "{second}" }} ]
"""
OLD = PLAN.format(first="0.10", second="0.05")
NEW = PLAN.format(first="0.20", second="0.40")

Apply = Callable[..., list[PlanChange]]


@pytest.fixture
def _metered(database: Database, apply: Apply) -> None:
    """Two customers with 800 tokens and then 400 more in November, and one of them with 100 in October."""
    apply(OLD, now=OCTOBER)
    for user_id in ("ada", "bob"):
        add_customer(database, user_id, email=f"{user_id}@example.com", plan_id="pro", now=OCTOBER)
    settle(database, event(1, "ada", 800), event(2, "ada", 400), event(3, "bob", 800), event(4, "bob", 400))
    settle(database, event(5, "ada", 100, at=OCTOBER))


def event(number: int, user_id: str, tokens: int, *, at: datetime = NOW, billable: bool = True) -> UsageEvent:
    return UsageEvent(UUID(int=number), user_id, at, Usage("gpt-4o", tokens_in=tokens), billable=billable)


def settle(database: Database, *events: UsageEvent, now: datetime = NOW) -> None:
    async def run() -> None:
        async with Settlement(database.url, database.schema) as settlement:
            await settlement.settle(events, now=now)

    asyncio.run(run())


def periods(database: Database) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return all_rows(
            connection,
            "SELECT user_id, plan_version, spent, cost_units, version FROM usage_periods ORDER BY period_start, user_id",
        )


def costs(database: Database) -> list[Decimal]:
    with database.transaction() as connection:
        return [row["cost_units"] for row in all_rows(connection, "SELECT cost_units FROM usage_events ORDER BY id")]


@pytest.mark.usefixtures("_metered")
def test_a_new_price_counts_from_the_next_period_on(database: Database, apply: Apply) -> None:
    before = periods(database)

    (applied,) = apply(NEW, now=NOW)

    assert (applied.kind, applied.immediate) == ("new_version", False)
    assert periods(database) == before
    settle(database, event(6, "ada", 1_000, at=NOW + timedelta(days=30)), now=NOW + timedelta(days=30))
    # 1,000 tokens at $0.20 a thousand
    assert [(row["plan_version"], row["spent"]) for row in periods(database)][-1] == (2, 20)


@pytest.mark.usefixtures("_metered")
def test_with_now_the_open_period_is_priced_anew_event_by_event(database: Database, apply: Apply) -> None:
    # 800 at 0.01 cents; 200 at 0.01 and 200 at 0.005 cents: 8 + 3; October: 100 at 0.01
    assert costs(database) == [Decimal(c) for c in ("8", "3", "8", "3", "1")]
    before = periods(database)

    (applied,) = apply(NEW, now=NOW, immediate=True)

    assert (applied.kind, applied.immediate) == ("new_version", True)
    # 800 at 0.02 cents; 200 at 0.02 and 200 at 0.04 cents: 16 + 12; October is over and keeps its price
    assert costs(database) == [Decimal(c) for c in ("16", "12", "16", "12", "1")]
    assert [(row["user_id"], row["plan_version"], row["spent"], row["cost_units"]) for row in periods(database)] == [
        ("ada", 1, 1, Decimal(1)),
        ("ada", 2, 28, Decimal(28)),
        ("bob", 2, 28, Decimal(28)),
    ]
    grown = [after["version"] - was["version"] for was, after in zip(before, periods(database), strict=True)]
    assert grown == [0, 1, 1]


@pytest.mark.usefixtures("_metered")
def test_what_comes_after_goes_on_at_the_new_price(database: Database, apply: Apply) -> None:
    apply(NEW, now=NOW, immediate=True)
    settle(database, event(7, "ada", 1_000))

    # 1,000 more beyond the first tier: at 0.04 cents
    assert costs(database)[-1] == Decimal(40)
    assert [row["spent"] for row in periods(database) if row["user_id"] == "ada"] == [1, 68]


@pytest.mark.usefixtures("_metered")
def test_an_event_at_no_charge_stays_so(database: Database, apply: Apply) -> None:
    settle(database, event(8, "ada", 5_000, billable=False))

    apply(NEW, now=NOW, immediate=True)

    assert costs(database)[-1] == 0
    assert [row["spent"] for row in periods(database)] == [1, 28, 28]


@pytest.mark.usefixtures("_metered")
def test_what_has_a_price_now_is_unpriced_no_more(database: Database, apply: Apply) -> None:
    apply('[plans.pro]\ncurrency = "usd"\n', now=NOW, immediate=True)
    assert _unpriced(database) == [True, True, True, True, False]  # the last one is of October
    assert [row["spent"] for row in periods(database)] == [1, 0, 0]

    apply(NEW, now=NOW + timedelta(hours=1), immediate=True)

    assert _unpriced(database) == [False] * 5
    assert [row["spent"] for row in periods(database)] == [1, 28, 28]


@pytest.mark.usefixtures("_metered")
def test_a_version_that_waited_can_be_hurried(database: Database, apply: Apply) -> None:
    apply(NEW, now=NOW)

    (applied,) = apply(NEW, now=NOW, immediate=True)

    assert (applied.kind, applied.version, applied.charges) == ("new_version", 3, ())
    assert [(row["plan_version"], row["spent"]) for row in periods(database)] == [(1, 1), (3, 28), (3, 28)]
    assert [change.kind for change in apply(NEW, now=NOW, immediate=True)] == ["unchanged"]


@pytest.mark.usefixtures("_metered")
def test_what_was_interrupted_is_finished_by_the_same_call(database: Database, apply: Apply) -> None:
    apply(NEW, now=NOW, immediate=True)
    with database.transaction() as connection:  # as if it had ended before bob's turn
        change(
            connection, "UPDATE usage_periods SET plan_version = 1, spent = 11, cost_units = 11 WHERE user_id = 'bob'"
        )

    assert [change.kind for change in apply(NEW, now=NOW + timedelta(hours=1), immediate=True)] == ["unchanged"]

    assert [row["spent"] for row in periods(database)] == [1, 28, 28]
    assert reprice_open_periods(database, "pro") == 0


@pytest.mark.usefixtures("_metered")
def test_a_closed_period_is_never_priced_anew(database: Database, apply: Apply) -> None:
    with database.transaction() as connection:
        change(connection, "UPDATE usage_periods SET status = 'closed', billed_totals = totals WHERE user_id = 'ada'")

    apply(NEW, now=NOW, immediate=True)

    assert [(row["user_id"], row["spent"]) for row in periods(database)] == [("ada", 1), ("ada", 11), ("bob", 28)]


def test_more_events_than_are_read_at_once_keep_their_order(database: Database, apply: Apply) -> None:
    apply(OLD, now=OCTOBER)
    add_customer(database, "ada", email="ada@example.com", plan_id="pro", now=OCTOBER)
    for start in range(0, 2_500, 500):
        settle(database, *(event(start + n, "ada", 1, at=NOW + timedelta(seconds=start + n)) for n in range(500)),
               now=NOW + timedelta(seconds=start))  # fmt: skip

    apply(NEW, now=NOW, immediate=True)

    # a token at a time: the first 1,000 at 0.02 cents, 1,500 more at 0.04
    assert costs(database) == [Decimal("0.02")] * 1_000 + [Decimal("0.04")] * 1_500
    assert [(row["spent"], row["cost_units"]) for row in periods(database)] == [(80, Decimal(80))]


def _unpriced(database: Database) -> list[bool]:
    with database.transaction() as connection:
        return [row["unpriced"] for row in all_rows(connection, "SELECT unpriced FROM usage_events ORDER BY id")]
