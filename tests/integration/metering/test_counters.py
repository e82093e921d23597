"""The scripts in Redis, asked directly: what they keep, and what they forget."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis

from integration.metering.conftest import NOW
from tollkeeper.counters.redis import Held, Question, RedisCounters, Spend, Verdict
from tollkeeper.domain.errors import StoreUnavailable
from tollkeeper.domain.pricing import FINE

START = datetime(2026, 11, 1, tzinfo=UTC)
NOTHING = Spend(0, 0, 0)


def question(**changes: Any) -> Question:
    base: dict[str, Any] = {
        "id": uuid4(),
        "user_id": "alice",
        "period_start": START,
        "bound": 10 * FINE,
        "soft": False,
        "cap": 100,
        "tokens": 1000,
        "free_until": -1,
        "spend": NOTHING,
        "now": NOW,
        "expires_at": NOW + timedelta(minutes=15),
        "rate_limit": 0,
        "window_seconds": 60,
    }
    return Question(**{**base, **changes})


def with_counters(url: str, work: Callable[[RedisCounters], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        counters = RedisCounters(url, budget_seconds=2)
        try:
            return await work(counters)
        finally:
            await counters.idle()
            await counters.close()

    return asyncio.run(run())


def state_key(url: str) -> str:
    client = redis.Redis.from_url(url, decode_responses=True)
    [key] = [str(key) for key in client.scan_iter("tk:*") if str(key).count(":") == 2]
    return key


def state(url: str) -> Any:
    return redis.Redis.from_url(url, decode_responses=True).hgetall(state_key(url))


def test_an_empty_copy_decides_nothing(redis_url: str) -> None:
    assert with_counters(redis_url, lambda counters: counters.ask(question())).outcome == "seed"


def test_asking_twice_with_one_id_places_one_hold(redis_url: str) -> None:
    async def work(counters: RedisCounters) -> list[Verdict]:
        await counters.seed("alice", START, NOTHING, [])
        asked = question()
        return [await counters.ask(asked), await counters.ask(asked)]

    first, second = with_counters(redis_url, work)
    assert (first.outcome, second.outcome) == ("ok", "ok")
    assert second.held == 10 * FINE


def test_a_hold_that_is_settled_twice_is_given_back_once_and_spend_never_goes_back(redis_url: str) -> None:
    async def work(counters: RedisCounters) -> None:
        await counters.seed("alice", START, NOTHING, [])
        one, other = question(), question()
        await counters.ask(one)
        await counters.ask(other)
        for version in (2, 2, 1):
            counters.settle(one.id, "alice", START, Spend(version, version * 7 * FINE, version))

    with_counters(redis_url, work)
    assert state(redis_url) == {
        "ready": "1",
        "version": "2",
        "spent": "14000000",
        "tokens": "2",
        "held": "10000000",
        "held_tokens": "1000",
    }


def test_holds_of_nothing_come_and_go_without_a_complaint(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def work(counters: RedisCounters) -> list[str]:
        await counters.seed("alice", START, NOTHING, [Held(uuid4(), 0, 0, NOW - timedelta(seconds=1))])
        free = question(tokens=0, free_until=5)
        outcomes = [(await counters.ask(free)).outcome]
        counters.settle(free.id, "alice", START, NOTHING)
        return outcomes

    with caplog.at_level(logging.ERROR):
        assert with_counters(redis_url, work) == ["ok"]
    assert caplog.records == []
    assert state(redis_url)["held"] == "0"


def test_seeded_holds_count_until_their_own_request_is_decided(redis_url: str) -> None:
    mine = question(bound=60 * FINE)
    others = [Held(uuid4(), 50 * FINE, 1000, NOW + timedelta(minutes=1))]

    async def work(counters: RedisCounters) -> list[str]:
        own = Held(mine.id, 60 * FINE, 1000, NOW + timedelta(minutes=1))
        await counters.seed("alice", START, NOTHING, [own, *others])
        refused = await counters.ask(mine)  # 50 held by another, 60 wanted
        counters.release(others[0].id, "alice", START)
        return [refused.outcome, (await counters.ask(mine)).outcome]

    assert with_counters(redis_url, work) == ["cap", "ok"]


def test_a_copy_that_knows_something_newer_is_not_seeded_from_older_rows(redis_url: str) -> None:
    async def work(counters: RedisCounters) -> list[bool]:
        counters.settle(uuid4(), "alice", START, Spend(5, 9 * FINE, 9))
        return [
            await counters.seed("alice", START, Spend(4, 8 * FINE, 8), []),
            await counters.seed("alice", START, Spend(5, 9 * FINE, 9), []),
        ]

    assert with_counters(redis_url, work) == [False, True]


def test_a_hold_that_outlived_its_time_is_given_back_by_the_next_request(redis_url: str) -> None:
    async def work(counters: RedisCounters) -> list[str]:
        await counters.seed("alice", START, NOTHING, [])
        await counters.ask(question(bound=95 * FINE))
        before = await counters.ask(question())
        after = await counters.ask(question(now=NOW + timedelta(minutes=15)))
        return [before.outcome, after.outcome]

    assert with_counters(redis_url, work) == ["cap", "ok"]


def test_a_free_request_fits_until_used_and_held_tokens_reach_the_end_of_what_is_free(redis_url: str) -> None:
    async def work(counters: RedisCounters) -> list[tuple[str, int]]:
        await counters.seed("alice", START, Spend(1, 0, 7000), [])
        asked = [question(cap=0, free_until=10_000, spend=Spend(1, 0, 7000)) for _ in range(4)]
        answers = [await counters.ask(one) for one in asked]
        return [(answer.outcome, answer.held) for answer in answers]

    # 7,000 used and three times 1,000 held make 10,000; the fourth would have to be paid.
    assert with_counters(redis_url, work) == [("ok", 0), ("ok", 0), ("ok", 0), ("cap", 0)]


def test_a_counter_that_would_overflow_is_an_error_for_that_request_alone(redis_url: str) -> None:
    async def work(counters: RedisCounters) -> list[Any]:
        await counters.seed("alice", START, NOTHING, [])
        await counters.ask(question())
        redis.Redis.from_url(redis_url).hset(state_key(redis_url), "held_tokens", str(2**63 - 10))
        await counters.seed("bob", START, NOTHING, [])
        both = counters.ask(question()), counters.ask(question(user_id="bob"))
        return list(await asyncio.gather(*both, return_exceptions=True))

    alice, bob = with_counters(redis_url, work)
    assert isinstance(alice, StoreUnavailable)
    assert bob.outcome == "ok"


def test_what_redis_missed_is_sent_when_it_is_back(redis_url: str) -> None:
    async def work(counters: RedisCounters) -> str:
        await counters.seed("alice", START, NOTHING, [])
        asked = question(bound=100 * FINE)
        await counters.ask(asked)
        client, counters._client = counters._client, redis.asyncio.Redis(port=1)  # a door that nobody opens
        counters.settle(asked.id, "alice", START, Spend(1, 3 * FINE, 3))
        await counters.idle()
        counters._client = client
        await asyncio.sleep(1.05)
        return (await counters.ask(question())).outcome

    assert with_counters(redis_url, work) == "ok"
    assert state(redis_url)["spent"] == "3000000"
