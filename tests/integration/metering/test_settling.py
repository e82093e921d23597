"""Storing usage: every write repeatable, totals and events in step, quota notices once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from integration.metering.conftest import NOW, Desk
from tollkeeper.domain.account import CustomerUnknown
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.money import AmountTooLarge
from tollkeeper.domain.usage import Usage
from tollkeeper.storage.settlement import Settled, Settlement


@pytest.fixture
def at(desk: Desk) -> Desk:
    desk.plan()
    desk.customer("alice")
    return desk


def event(tokens: int = 1000, *, user: str = "alice", at: datetime = NOW, id: UUID | None = None) -> UsageEvent:  # noqa: A002
    return UsageEvent(id or uuid4(), user, at, Usage("gpt-4o", tokens_in=tokens))


def settle(desk: Desk, *batches: Sequence[UsageEvent], now: datetime = NOW) -> list[Settled | Exception]:
    async def run() -> list[Settled | Exception]:
        async with Settlement(desk.database.url) as settlement:
            return [answer for batch in batches for answer in await settlement.settle(batch, now=now)]

    return asyncio.run(run())


def statuses(answers: Sequence[Settled | Exception]) -> list[str]:
    return [answer.status if isinstance(answer, Settled) else type(answer).__name__ for answer in answers]


def test_the_same_event_twice_is_one_event_also_within_a_batch(at: Desk) -> None:
    one = event()

    answers = settle(at, [one, one], [one])

    assert statuses(answers) == ["accepted", "duplicate", "duplicate"]
    assert at.rows("SELECT events, spent, tokens FROM usage_periods") == [{"events": 1, "spent": 1, "tokens": 1000}]


@pytest.mark.parametrize(
    "other",
    [
        lambda first: replace(first, usage=Usage("gpt-4o", tokens_in=999)),
        lambda first: replace(first, usage=Usage("other", tokens_in=1000)),
        lambda first: replace(first, timestamp=NOW + timedelta(seconds=1)),
        lambda first: replace(first, timestamp=NOW - timedelta(days=60)),
        lambda first: replace(first, user_id="bob"),
    ],
)
def test_an_id_with_other_content_is_a_conflict_and_the_first_stays(at: Desk, other: object) -> None:
    at.customer("bob")
    first = event()

    answers = settle(at, [first], [other(first)])  # type: ignore[operator] # each makes an event of the first

    assert statuses(answers) == ["accepted", "conflict"]
    assert [row["tokens_in"] for row in at.events()] == [1000]
    assert at.rows("SELECT sum(tokens) AS tokens FROM usage_periods") == [{"tokens": 1000}]


def test_what_is_refused_or_known_already_opens_no_period_that_a_base_fee_would_be_billed_for(at: Desk) -> None:
    first = event()

    answers = settle(at, [first], [replace(first, timestamp=NOW - timedelta(days=60))], [first])

    assert statuses(answers) == ["accepted", "conflict", "duplicate"]
    assert at.rows("SELECT period_start FROM usage_periods") == [{"period_start": datetime(2026, 11, 1, tzinfo=UTC)}]


def test_an_event_on_the_boundary_belongs_to_the_period_that_begins_there(at: Desk) -> None:
    december = datetime(2026, 12, 1, tzinfo=UTC)

    settle(at, [event(1, at=december), event(2, at=december - timedelta(microseconds=1))])

    assert at.rows("SELECT period_start, tokens FROM usage_periods ORDER BY period_start") == [
        {"period_start": datetime(2026, 11, 1, tzinfo=UTC), "tokens": 2},
        {"period_start": december, "tokens": 1},
    ]


def test_events_of_any_month_find_their_partition(at: Desk) -> None:
    months = [datetime(year, month, 28, tzinfo=UTC) for year in (2024, 2027) for month in (1, 2, 12)]

    assert statuses(settle(at, [event(at=month) for month in months])) == ["accepted"] * 6
    assert len(at.events()) == 6


def test_nobody_elses_event_is_refused_alone(at: Desk) -> None:
    answers = settle(at, [event(), event(user="nobody"), event()])

    assert [type(answer) for answer in answers] == [Settled, CustomerUnknown, Settled]
    assert len(at.events()) == 2


def test_a_charge_past_bigint_is_refused_alone_and_nothing_wraps(at: Desk) -> None:
    at.plan(
        text="""
[plans.dear]
name = "Dear"
currency = "usd"
[[plans.dear.prices]]
model = "*"
token_type = "*"
price = "1000000"
"""
    )
    at.customer("rich", "dear")

    answers = settle(at, [event(5, user="rich"), event(2**62, user="rich"), event(7, user="rich")])

    assert [type(answer) for answer in answers] == [Settled, AmountTooLarge, Settled]
    assert at.rows("SELECT tokens, spent FROM usage_periods") == [{"tokens": 12, "spent": 12 * 10**8}]


def test_totals_past_64_bits_are_kept_exactly(at: Desk) -> None:
    most = 2**63 - 1
    at.run("UPDATE plan_versions SET tariff = jsonb_set(tariff, '{prices}', '[]')")

    settle(at, [event(most), event(most)], [event(most)])

    assert at.rows("SELECT quantity FROM usage_totals WHERE token_type = 'input'") == [{"quantity": 3 * most}]


def test_costs_add_up_to_the_bill_whatever_the_batches(at: Desk) -> None:
    at.plan(
        text="""
[plans.tiers]
name = "Tiers"
currency = "usd"
[[plans.tiers.prices]]
model = "*"
token_type = "*"
per = 1000
tiers = [{ up_to = 1000, price = "0" }, { up_to = 5000, price = "0.03" }, { up_to = "inf", price = "0.007" }]
"""
    )
    at.customer("bob", "tiers")
    amounts = [999, 2, 1, 3500, 498, 1, 10_000]

    settle(at, [event(n, user="bob") for n in amounts[:3]], *[[event(n, user="bob")] for n in amounts[3:]])

    # 15,001 tokens: 1,000 free, 4,000 at 0.003 minor units = 12, 10,001 at 0.0007 = 7.0007
    [period] = at.rows("SELECT cost_units, spent FROM usage_periods")
    assert period == {"cost_units": Decimal("19.0007"), "spent": 12 + 7}
    assert at.rows("SELECT sum(cost_units) AS cost FROM usage_events") == [{"cost": Decimal("19.0007")}]


def test_processes_that_settle_for_one_customer_at_once_lose_nothing_and_notify_once(at: Desk) -> None:
    at.run("UPDATE plans SET quota_tokens = 200000")

    async def run() -> None:
        async def one() -> None:
            async with Settlement(at.database.url) as settlement:
                for _ in range(5):
                    await settlement.settle([event() for _ in range(5)], now=NOW)

        await asyncio.gather(*[one() for _ in range(8)])

    asyncio.run(run())

    assert at.rows("SELECT events, tokens, spent, version FROM usage_periods") == [
        {"events": 200, "tokens": 200_000, "spent": 200, "version": 40}
    ]
    assert at.rows("SELECT threshold, used_tokens FROM quota_alerts ORDER BY threshold") == [
        {"threshold": 50, "used_tokens": 100_000},
        {"threshold": 80, "used_tokens": 160_000},
        {"threshold": 100, "used_tokens": 200_000},
    ]


def test_one_event_that_crosses_two_thresholds_gives_both_notices(at: Desk) -> None:
    at.run("UPDATE plans SET quota_tokens = 1000")

    settle(at, [event(850)])

    assert [row["threshold"] for row in at.rows("SELECT threshold FROM quota_alerts ORDER BY 1")] == [50, 80]


def test_a_quota_crossed_again_after_it_was_raised_is_told_again_and_the_same_quota_is_not(at: Desk) -> None:
    at.run("UPDATE plans SET quota_tokens = 1000")
    settle(at, [event(850)])  # 85 % of 1,000
    at.run("UPDATE plans SET quota_tokens = 2000")
    settle(at, [event(250)])  # 42.5 % to 55 % of 2,000
    at.run("UPDATE plans SET quota_tokens = 1000")
    settle(at, [event(50)])  # 110 % to 115 % of 1,000

    crossed = at.rows("SELECT quota_tokens, threshold FROM quota_alerts ORDER BY 1, 2")
    assert [(row["quota_tokens"], row["threshold"]) for row in crossed] == [(1000, 50), (1000, 80), (2000, 50)]
    told = [row["payload"] for row in at.rows("SELECT payload FROM notices WHERE kind = 'quota.crossed'")]
    assert sorted((one["quota_tokens"], one["threshold"]) for one in told) == [(1000, 50), (1000, 80), (2000, 50)]


def test_the_spend_cap_is_told_once_when_it_comes_near_and_once_when_it_is_reached(at: Desk) -> None:
    at.run("UPDATE plans SET spend_cap = 100, quota_tokens = NULL")  # cents, at one for a thousand tokens

    async def run() -> None:
        async def one() -> None:
            async with Settlement(at.database.url) as settlement:
                for _ in range(5):
                    await settlement.settle([event() for _ in range(5)], now=NOW)

        await asyncio.gather(*[one() for _ in range(8)])

    asyncio.run(run())

    told = at.rows("SELECT kind, user_id, payload FROM notices ORDER BY kind")
    assert [(row["kind"], row["user_id"], row["payload"]["spent"]) for row in told] == [
        ("spend_cap.near", "alice", 80),
        ("spend_cap.reached", "alice", 100),
    ]
    assert told[0]["payload"]["spend_cap"] == 100

    at.run("UPDATE plans SET spend_cap = 250")  # raised: 200 cents are 80 % again
    settle(at, [event(1000)])
    assert len(at.rows("SELECT FROM notices")) == 2, "200 were 80 % before this request already"
    at.run("UPDATE plans SET spend_cap = 300")
    settle(at, [event(40_000)])
    assert [
        row["payload"]["spend_cap"] for row in at.rows("SELECT payload FROM notices WHERE kind = 'spend_cap.near'")
    ] == [
        100,
        300,
    ]


def test_usage_of_a_period_that_is_over_gives_no_notice(at: Desk) -> None:
    at.run("UPDATE plans SET quota_tokens = 1000")

    settle(at, [event(5000, at=NOW - timedelta(days=31))])

    assert at.rows("SELECT * FROM quota_alerts") == []


def test_usage_without_a_price_is_flagged(at: Desk) -> None:
    at.run("UPDATE plan_versions SET tariff = jsonb_set(tariff, '{prices,0,model}', '\"other-*\"')")

    [answer] = settle(at, [event()])

    assert isinstance(answer, Settled)
    assert answer.unpriced
    assert [row["unpriced"] for row in at.events()] == [True]


def test_the_database_itself_refuses_what_cannot_be(at: Desk) -> None:
    settle(at, [event()])
    for wrong in (
        "tokens_in = -1",
        "tokens_out = -1",
        "compute_minutes = 'NaN'",
        "cost_units = 'Infinity'",
        "status_code = 7",
    ):
        with pytest.raises(Exception, match="violates check constraint"):
            at.tamper(f"UPDATE usage_events SET {wrong}")
