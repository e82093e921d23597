"""Redis is refused, slow, emptied, short of memory or loses an answer: the cap holds, and nothing counts twice."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from faults.conftest import CHAT, REDIS_BUDGET, SLACK, STORE_BUDGET, Site, run
from faults.proxy import Proxy
from integration.metering.conftest import NOW, ask, closed
from tollkeeper import MeteringMiddleware
from tollkeeper.counters.redis import Question, RedisCounters, Spend
from tollkeeper.domain.pricing import FINE
from tollkeeper.testing.clock import FrozenClock

BUDGET = STORE_BUDGET + REDIS_BUDGET + STORE_BUDGET + SLACK
"""Before the route and after it, with what a busy machine adds."""


async def timed(middleware: MeteringMiddleware, key: str) -> tuple[int, float]:
    began = time.monotonic()
    answer = await ask(middleware, key, CHAT)
    return answer.status, time.monotonic() - began


def capped(site: Site) -> str:
    """A customer whose cap is twenty requests of a cent."""
    site.desk.plan('spend_cap = "0.20"')
    return site.desk.customer("alice")


def cap_held(site: Site, statuses: list[int]) -> None:
    assert set(statuses) <= {200, 402}
    assert statuses.count(200) == 20
    assert site.period()["spent"] == 20
    site.sums_agree()


def test_a_redis_that_answers_a_second_late_slows_no_request_past_its_budget(site: Site) -> None:
    key = capped(site)

    async def day() -> list[tuple[int, float]]:
        async with Proxy(site.redis_url) as proxy:
            middleware = site.mounted(redis_url=proxy.url)
            answers = [await timed(middleware, key) for _ in range(5)]
            proxy.delay = 1.0
            answers += await asyncio.gather(*[timed(middleware, key) for _ in range(10)])
            proxy.delay = 0.0
            await asyncio.sleep(1.1)
            answers += [await timed(middleware, key) for _ in range(15)]
            await closed(middleware)
            return answers

    answers = asyncio.run(day())
    assert max(took for _, took in answers) < BUDGET
    cap_held(site, [status for status, _ in answers])


def test_a_redis_that_refuses_for_good_costs_hardly_any_time(site: Site) -> None:
    key = capped(site)

    async def day() -> list[tuple[int, float]]:
        async with Proxy(site.redis_url) as proxy:
            middleware = site.mounted(redis_url=proxy.url)
            answers = [await timed(middleware, key)]
            proxy.refuse()
            for _ in range(3):
                answers += await asyncio.gather(*[timed(middleware, key) for _ in range(10)])
            await closed(middleware)
            return answers

    answers = asyncio.run(day())
    assert max(took for _, took in answers) < REDIS_BUDGET + SLACK
    cap_held(site, [status for status, _ in answers])


@pytest.mark.parametrize("what", ["flushed", "restarted"])
def test_a_redis_that_is_emptied_in_a_busy_minute_changes_no_decision(site: Site, what: str) -> None:
    key = capped(site)
    middleware = site.mounted()

    async def day() -> list[int]:
        async def empties() -> None:
            for _ in range(5):
                await asyncio.sleep(0.02)
                if what == "flushed":
                    with site.counters() as counters:
                        counters.flushall()
                else:
                    await asyncio.to_thread(site.own.redis.restart)

        emptying = asyncio.create_task(empties())
        answers = []
        while not emptying.done():
            answers += await asyncio.gather(*[ask(middleware, key, CHAT) for _ in range(4)])
        await emptying
        await asyncio.sleep(1.1)
        answers += [await ask(middleware, key, CHAT) for _ in range(22)]
        return [answer.status for answer in answers]

    cap_held(site, run(middleware, day))


@pytest.mark.parametrize("evicted", ["", ":holds", ":until"])
def test_a_copy_of_which_one_key_was_evicted_is_rebuilt(site: Site, evicted: str) -> None:
    key = capped(site)
    inside, leave = asyncio.Event(), asyncio.Event()

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        inside.set()
        await leave.wait()
        await plain(scope, receive, send)

    plain = site.mounted().app
    middleware = site.mounted(waits)

    async def day() -> list[int]:
        first = [asyncio.create_task(ask(middleware, key, CHAT)) for _ in range(5)]
        await inside.wait()
        await asyncio.sleep(0.2)
        with site.counters() as counters:
            [state] = [name for name in counters.keys("tk:*") if name.count(":") == 2 and ":rate" not in name]
            assert counters.delete(state + evicted) == 1
            leave.set()
            statuses = [(await request).status for request in first]
            statuses += [(await ask(middleware, key, CHAT)).status for _ in range(17)]
            # The last request was refused with nothing in flight: nothing is held any more.
            assert counters.hmget(state, "held", "held_tokens", "spent") == ["0", "0", "20000000"]
        return statuses

    cap_held(site, run(middleware, day))


def test_a_redis_short_of_memory_that_evicts_at_will_never_opens_the_cap(site: Site) -> None:
    key = capped(site)
    middleware = site.mounted()

    async def day() -> list[int]:
        statuses = []
        with site.counters() as counters:
            used = counters.info("memory")["used_memory"]
            counters.config_set("maxmemory", used + 300_000)
            counters.config_set("maxmemory-policy", "allkeys-lru")
            try:
                for _ in range(25):
                    with counters.pipeline(transaction=False) as pipeline:
                        for _ in range(40):
                            pipeline.set(str(uuid4()), "x" * 5_000)
                        pipeline.execute(raise_on_error=False)
                    statuses.append((await ask(middleware, key, CHAT)).status)
                assert counters.info("stats")["evicted_keys"] > 0
            finally:
                counters.config_set("maxmemory", 0)
                counters.config_set("maxmemory-policy", "noeviction")
        return statuses

    cap_held(site, run(middleware, day))


def test_a_counter_that_would_overflow_leaves_the_decision_to_postgresql(site: Site) -> None:
    key = capped(site)
    middleware = site.mounted()

    async def day() -> list[int]:
        statuses = [(await ask(middleware, key, CHAT)).status]
        await middleware._loops.own().metering.idle()
        with site.counters() as counters:
            [state] = [name for name in counters.keys("tk:*") if counters.hget(name, "ready")]
            counters.hset(state, "held_tokens", str(2**63 - 1))
            counters.hset(f"{state}:holds", "x", "0:0")
            counters.zadd(f"{state}:until", {"x": 4e12})
        return statuses + [(await ask(middleware, key, CHAT)).status for _ in range(21)]

    cap_held(site, run(middleware, day))


def test_a_script_whose_answer_is_lost_places_one_hold(site: Site) -> None:
    key = capped(site)

    async def day() -> list[int]:
        async with Proxy(site.redis_url) as proxy:
            middleware = site.mounted(redis_url=proxy.url)
            statuses = [(await ask(middleware, key, CHAT)).status]
            for _ in range(3):
                proxy.lose_reply_to = b"EVALSHA"
                statuses.append((await ask(middleware, key, CHAT)).status)
                await asyncio.sleep(1.1)
            assert proxy.lost == 3
            statuses += [(await ask(middleware, key, CHAT)).status for _ in range(18)]
            await closed(middleware)
            return statuses

    cap_held(site, asyncio.run(day()))


def test_an_answer_to_a_cancelled_call_is_never_taken_for_that_of_the_next(site: Site) -> None:
    def question(spent: int, user: str) -> Question:
        return Question(
            id=uuid4(), user_id=user, period_start=NOW, bound=FINE, soft=False, cap=10**9, tokens=1, free_until=-1,
            spend=Spend(1, spent * FINE, 0), now=NOW, expires_at=NOW.replace(year=2027), rate_limit=0, window_seconds=0,
        )  # fmt: skip

    async def day() -> None:
        async with Proxy(site.redis_url) as proxy:
            counters = RedisCounters(proxy.url, budget_seconds=2)
            for n in range(10):
                await counters.seed(f"u{n}", NOW, Spend(1, n * FINE, 0), [])
            proxy.delay = 0.03
            for n in range(10):
                given_up = asyncio.create_task(counters.ask(question(n, f"u{n}")))
                await asyncio.sleep(0.01)
                given_up.cancel()
                other = (n + 1) % 10
                assert (await counters.ask(question(other, f"u{other}"))).spent == other * FINE
            await counters.close()

    asyncio.run(day())


def test_what_gathered_during_a_long_outage_is_sent_a_little_at_a_time(site: Site) -> None:
    async def day() -> int:
        async with Proxy(site.redis_url) as proxy:
            counters = RedisCounters(proxy.url, budget_seconds=REDIS_BUDGET)
            with site.counters() as client:
                client.set("before", 1)
            proxy.delay = 10
            counters.settle(uuid4(), "alice", NOW, Spend(1, 0, 0))
            await counters.idle()
            for n in range(5000):
                counters.settle(uuid4(), f"u{n}", NOW, Spend(1, n * FINE, n))
            proxy.delay = 0
            await asyncio.sleep(1.1)
            for _ in range(40):
                counters.settle(uuid4(), "alice", NOW, Spend(2, 0, 0))
                await counters.idle()
            await counters.close()
            with site.counters() as client:
                return len(client.keys("tk:*"))

    assert asyncio.run(day()) == 5001


def test_the_hold_of_a_request_that_runs_longer_than_a_hold_lasts_is_kept_in_both_stores(site: Site) -> None:
    key = capped(site)
    inside, leave = asyncio.Event(), asyncio.Event()
    plain = site.mounted().app

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        inside.set()
        await leave.wait()
        await plain(scope, receive, send)

    middleware = site.mounted(waits, hold_seconds=10)

    async def day() -> list[float]:
        request = asyncio.create_task(ask(middleware, key, CHAT))
        await inside.wait()
        metering = middleware._loops.own().metering
        clock = metering._clock
        assert isinstance(clock, FrozenClock)
        clock.advance(timedelta(seconds=8))
        await metering.extend_holds()
        await metering.idle()
        with site.counters() as counters:
            [until] = [name for name in counters.keys("tk:*") if name.endswith(":until")]
            [(_, ends)] = counters.zrange(until, 0, -1, withscores=True)
        leave.set()
        await request
        return [ends / 1000, NOW.timestamp() + 18]

    ends, wanted = run(middleware, day)
    assert ends == wanted
