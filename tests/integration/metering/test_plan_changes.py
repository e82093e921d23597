"""Requests while the plan changes inside the period: each at its own plan, the cap counted over the whole period."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
import redis

from integration.metering.apps import answering, chat_answer
from integration.metering.conftest import Answer, Desk, ask, closed
from tollkeeper import MeteringMiddleware
from tollkeeper.services.moving import move_customer
from tollkeeper.testing.clock import FrozenClock

HOUR = timedelta(hours=1)
# A request of 1,000 tokens costs 1 minor unit on Pro and 2 on Large; what is held for one is a little more.
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1000}
LARGE = """
[plans.large]
currency = "usd"
spend_cap = "0.06"
[[plans.large.prices]]
model = "*"
per = 1000
price = "0.02"
"""


@pytest.fixture
def key(desk: Desk) -> str:
    desk.plan('spend_cap = "0.04"')
    desk.plan(text=LARGE)
    return desk.customer("alice")


def send(meter: Callable[..., MeteringMiddleware], key: str) -> Answer:
    async def once() -> Answer:
        middleware = meter(answering(chat_answer(900, 100)))
        try:
            return await ask(middleware, key, CHAT)
        finally:
            await closed(middleware)

    return asyncio.run(once())


def figures(answer: Answer) -> tuple[int, int]:
    assert answer.status == 402
    return answer.json()["spent"], answer.json()["cap"]


def costs(desk: Desk) -> list[Decimal]:
    return [event["cost_units"] for event in desk.events()]


def test_a_plan_change_does_not_open_the_cap_anew(
    meter: Callable[..., MeteringMiddleware], desk: Desk, key: str, clock: FrozenClock, redis_url: str
) -> None:
    assert [send(meter, key).status for _ in range(2)] == [200, 200]
    clock.advance(HOUR)
    move_customer(desk.database, "alice", "large", clock.now(), at=clock.now())

    assert send(meter, key).status == 200  # 2 spent, 2 and a bit held: within 6
    assert figures(send(meter, key)) == (4, 6)
    redis.Redis.from_url(redis_url).flushdb()
    assert figures(send(meter, key)) == (4, 6)
    assert costs(desk) == [1, 1, 2]


def test_a_change_that_is_to_come_is_in_force_at_its_instant_and_not_before(
    meter: Callable[..., MeteringMiddleware], desk: Desk, key: str, clock: FrozenClock
) -> None:
    at = clock.now() + HOUR
    move_customer(desk.database, "alice", "large", clock.now(), at=at)
    assert [send(meter, key).status for _ in range(3)] == [200, 200, 200]
    clock.set(at - timedelta(microseconds=1))
    assert figures(send(meter, key)) == (3, 4)
    clock.set(at)
    assert send(meter, key).status == 200
    assert figures(send(meter, key)) == (5, 6)
    assert costs(desk) == [1, 1, 1, 2]


def test_a_change_in_the_past_counts_at_the_next_request(
    meter: Callable[..., MeteringMiddleware], desk: Desk, key: str, clock: FrozenClock
) -> None:
    send(meter, key)
    clock.advance(HOUR)
    send(meter, key)
    move_customer(desk.database, "alice", "large", clock.now(), at=clock.now() - timedelta(minutes=30))
    assert costs(desk) == [1, 2]
    assert send(meter, key).status == 200  # 3 spent, 2 and a bit held
    assert figures(send(meter, key)) == (5, 6)


def test_what_is_still_free_is_the_parts_share_of_the_allowance_less_what_the_part_used(
    meter: Callable[..., MeteringMiddleware], desk: Desk, key: str, clock: FrozenClock
) -> None:
    """Of 3,600 included tokens a little more than half, about 1,855, are for the rest of the month: one request and not two."""
    desk.plan(text=LARGE.replace("large", "flat").replace("0.06", '0.03"\nincluded_tokens = 3_600 #'))
    assert send(meter, key).status == 200
    clock.advance(HOUR)
    move_customer(desk.database, "alice", "flat", clock.now(), at=clock.now())
    assert send(meter, key).status == 200
    assert figures(send(meter, key)) == (1, 3)
    assert costs(desk) == [1, 0]
