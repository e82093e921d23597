"""Who is turned away, with which answer, and that it leaves no row and no hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.metering.apps import answering, chat_answer
from integration.metering.conftest import Answer, Desk, ask, closed
from tollkeeper import MeteringMiddleware, Settings, record_usage
from tollkeeper.domain.errors import SettingMissing
from tollkeeper.testing.clock import FrozenClock

Mount = Callable[..., MeteringMiddleware]
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1000}


def run(middleware: MeteringMiddleware, work: Callable[[], Awaitable[Any]]) -> Any:
    async def once() -> Any:
        try:
            return await work()
        finally:
            await closed(middleware)

    return asyncio.run(once())


def send(middleware: MeteringMiddleware, key: str | None, body: Any = CHAT, **options: Any) -> Answer:
    answer = run(middleware, lambda: ask(middleware, key, body, **options))
    assert isinstance(answer, Answer)
    return answer


def test_no_key_an_unknown_key_and_hostile_keys_get_401_before_the_route_runs(meter: Mount, desk: Desk) -> None:
    desk.plan()
    desk.customer("alice")

    async def never(scope: Any, receive: Any, send: Any) -> None:
        pytest.fail("the route ran")

    for key in (None, "tk_nobody", "", "x" * 5000, "é", "'; DROP TABLE customers"):
        answer = send(meter(never), key)
        assert answer.status == 401
        assert answer.header("content-type") == "application/problem+json"
        assert answer.json()["code"] == "customer_unknown"
        assert answer.json()["error"]["message"]
    assert desk.events() == []
    assert desk.rows("SELECT * FROM holds") == []


def test_the_key_is_also_taken_from_x_api_key(meter: Mount, desk: Desk) -> None:
    desk.plan()
    key = desk.customer("alice")

    assert send(meter(answering({})), None, headers={"X-API-Key": key}).status == 200


def test_a_revoked_key_and_a_suspended_customer_are_turned_away_at_the_next_request(meter: Mount, desk: Desk) -> None:
    desk.plan()
    alice, bob = desk.customer("alice"), desk.customer("bob")
    desk.run("UPDATE api_keys SET revoked_at = created_at WHERE user_id = 'alice'")
    desk.run("UPDATE customers SET status = 'suspended' WHERE user_id = 'bob'")

    assert send(meter(answering({})), alice).status == 401
    assert send(meter(answering({})), bob).json()["code"] == "customer_inactive"


def test_a_key_that_was_replaced_works_until_its_overlap_is_over(meter: Mount, desk: Desk) -> None:
    desk.plan()
    alice, bob = desk.customer("alice"), desk.customer("bob")
    desk.run("UPDATE api_keys SET revoked_at = now() + interval '100 years' WHERE user_id = 'alice'")
    desk.run("UPDATE api_keys SET revoked_at = created_at - interval '100 years' WHERE user_id = 'bob'")

    assert send(meter(answering({})), alice).status == 200
    assert send(meter(answering({})), bob).status == 401


def test_what_the_payment_side_leaves_a_customer_is_in_force_at_the_next_request(meter: Mount, desk: Desk) -> None:
    desk.plan('rate_limit = "100/minute"\nthrottle_limit = "1/day"')
    alice = desk.customer("alice")
    middleware = meter(answering({}))
    desk.run("UPDATE customers SET access = 'suspended'")
    assert send(middleware, alice).json()["code"] == "customer_inactive"
    desk.run("UPDATE customers SET access = 'throttled'")
    assert [send(middleware, alice).status for _ in range(2)] == [200, 429]
    desk.run("UPDATE customers SET access = NULL")
    assert send(middleware, alice).status == 200


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_host_app_can_name_the_customer_itself(meter: Mount, desk: Desk, asynchronous: bool) -> None:
    desk.plan()
    desk.customer("alice")

    def plain(scope: Any) -> str | None:
        name = dict(scope["headers"]).get(b"x-user")
        return None if name is None else name.decode()

    async def later(scope: Any) -> str | None:
        return plain(scope)

    middleware = meter(answering(chat_answer(1, 1)), identify=later if asynchronous else plain)

    assert send(middleware, None, headers={"X-User": "alice"}).status == 200
    assert send(middleware, None, headers={"X-User": "mallory"}).status == 401
    assert send(middleware, None).status == 401
    assert [event["user_id"] for event in desk.events()] == ["alice"]


def test_a_request_that_could_pass_the_cap_gets_402_with_the_figures(meter: Mount, desk: Desk) -> None:
    desk.plan('spend_cap = "0.02"\nupgrade_url = "https://example.com/upgrade"')
    key = desk.customer("alice")
    # Each answer costs 1 minor unit: 900 in and 100 out at 0.001. The bound is 1,000 out plus the prompt's bytes.
    middleware = meter(answering(chat_answer(900, 100)))

    first, second = send(middleware, key), send(middleware, key)

    assert first.status == 200
    assert second.status == 402
    assert second.json()["code"] == "spend_cap_reached"
    figures = {name: second.json()[name] for name in ("spent", "held", "cap", "currency", "period_end", "upgrade_url")}
    assert figures == {
        "spent": 1,
        "held": 0,
        "cap": 2,
        "currency": "usd",
        "period_end": "2026-12-01T00:00:00+00:00",
        "upgrade_url": "https://example.com/upgrade",
    }
    assert second.json()["error"] == {
        "message": second.json()["detail"],
        "type": "billing_error",
        "code": "spend_cap_reached",
    }
    assert second.header("retry-after") == str(int(15.5 * 86_400))  # from noon on the 15th to the end of November
    assert second.header("payment-required") is None
    assert second.header("www-authenticate") is None
    assert len(desk.events()) == 1
    assert desk.rows("SELECT * FROM holds") == []


def test_requests_refused_near_the_cap_are_told_once_and_a_request_that_is_merely_large_is_not(
    meter: Mount, desk: Desk
) -> None:
    desk.plan('spend_cap = "0.05"')
    key = desk.customer("alice")
    middleware = meter(answering(chat_answer(900, 100)))  # one cent each
    assert send(middleware, key, CHAT | {"max_tokens": 10_000}).status == 402
    assert desk.rows("SELECT FROM notices") == [], "nothing is spent yet"

    async def work() -> list[int]:
        before = [(await ask(middleware, key, CHAT)).status for _ in range(4)]
        return [
            *before,
            *[one.status for one in await asyncio.gather(*[ask(middleware, key, CHAT) for _ in range(20)])],
        ]

    assert run(middleware, work) == [200] * 4 + [402] * 20
    assert send(middleware, key).status == 402
    told = desk.rows("SELECT kind, payload FROM notices WHERE kind = 'spend_cap.reached'")
    assert [(row["payload"]["spent"], row["payload"]["spend_cap"], row["payload"]["at_cap"]) for row in told] == [
        (4, 5, "block")
    ]


def test_a_new_period_begins_with_nothing_spent(meter: Mount, desk: Desk, clock: FrozenClock) -> None:

    desk.plan('spend_cap = "0.02"')
    key = desk.customer("alice")
    middleware = meter(answering(chat_answer(900, 100)))
    assert [send(middleware, key).status for _ in range(2)] == [200, 402]

    clock.set(datetime(2026, 12, 1, tzinfo=UTC))  # the very instant belongs to the new period

    assert send(middleware, key).status == 200


def test_a_request_without_a_stated_limit_is_served_while_anything_is_left(meter: Mount, desk: Desk) -> None:
    desk.plan('spend_cap = "0.02"')
    key = desk.customer("alice")
    middleware = meter(answering(chat_answer(900, 100)))
    unstated = {"model": "gpt-4o", "messages": []}

    # Its guess of 4,096 tokens is more than the whole cap; it takes what is left, and nothing is left after the second.
    assert [send(middleware, key, unstated).status for _ in range(3)] == [200, 200, 402]


def test_an_update_of_the_cap_by_hand_is_in_force_at_the_next_request(meter: Mount, desk: Desk) -> None:
    desk.plan('spend_cap = "0.02"')
    key = desk.customer("alice")
    middleware = meter(answering(chat_answer(900, 100)))
    assert [send(middleware, key).status for _ in range(2)] == [200, 402]

    desk.run("UPDATE plans SET spend_cap = 100")
    assert send(middleware, key).status == 200

    desk.run("UPDATE plans SET spend_cap = 1")
    assert send(middleware, key).status == 402


def test_two_hundred_requests_at_once_never_pass_the_cap_and_use_nearly_all_of_it(meter: Mount, desk: Desk) -> None:
    desk.plan('spend_cap = "1.00"')
    key = desk.customer("alice")
    body = {"model": "gpt-4o", "max_tokens": 950, "x": ""}
    body["x"] = "x" * (50 - len(str(body).replace("'", '"')))  # so that the prompt is bounded by exactly 50 tokens
    middleware = meter(answering(chat_answer(50, 950)))  # 1 minor unit each, and the bounds are exact

    async def burst() -> list[int]:
        return [answer.status for answer in await asyncio.gather(*[ask(middleware, key, body) for _ in range(200)])]

    statuses = run(middleware, burst)

    [period] = desk.rows("SELECT spent, cost_units FROM usage_periods")
    assert period["spent"] <= 100
    assert period["spent"] >= 95
    assert statuses.count(200) == len(desk.events()) == period["spent"]
    assert statuses.count(402) == 200 - statuses.count(200)
    assert desk.rows("SELECT * FROM holds") == []


@pytest.mark.parametrize("flush_after", [1, 20, 60])
def test_emptying_redis_in_the_middle_lets_nothing_past_the_cap(
    meter: Mount, desk: Desk, redis_url: str, flush_after: int
) -> None:
    import redis

    desk.plan('spend_cap = "0.50"')
    key = desk.customer("alice")
    count = 0

    async def route(scope: Any, receive: Any, send: Any) -> None:
        nonlocal count
        count += 1
        if count % flush_after == 0:
            redis.Redis.from_url(redis_url).flushdb()
        await asyncio.sleep(0.005)
        headers = [(b"x-tokens-in", b"50"), (b"x-tokens-out", b"950")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    body = {"model": "gpt-4o", "max_tokens": 950, "x": "x" * 10}
    middleware = meter(route)

    async def waves() -> None:
        for _ in range(4):
            await asyncio.gather(*[ask(middleware, key, body) for _ in range(50)])

    run(middleware, waves)

    [period] = desk.rows("SELECT spent FROM usage_periods")
    assert 45 <= period["spent"] <= 50


def test_more_requests_than_the_rate_limit_get_429_and_come_back_after_the_window(
    meter: Mount, desk: Desk, clock: FrozenClock
) -> None:

    desk.plan('rate_limit = "3/minute"')
    key = desk.customer("alice")
    middleware = meter(answering(chat_answer(1, 1)))

    answers = [send(middleware, key) for _ in range(4)]

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert answers[3].json()["error"]["type"] == "rate_limit_error"
    assert answers[3].header("ratelimit-policy") == '"requests";q=3;w=60'
    wait = int(answers[3].header("retry-after") or 0)
    assert 59 <= wait <= 61
    assert answers[3].header("ratelimit") == f'"requests";r=0;t={wait}'
    clock.advance(timedelta(seconds=wait))
    assert send(middleware, key).status == 200
    assert len(desk.events()) == 4


def test_the_window_slides_so_that_no_minute_holds_more_than_the_limit(
    meter: Mount, desk: Desk, clock: FrozenClock
) -> None:

    desk.plan('rate_limit = "6/minute"')
    key = desk.customer("alice")
    middleware = meter(answering({}))
    served: list[float] = []

    async def two_minutes() -> None:
        for second in range(0, 120, 5):
            if (await ask(middleware, key, CHAT)).status == 200:
                served.append(second)
            clock.advance(timedelta(seconds=5))

    run(middleware, two_minutes)

    assert max(sum(1 for at in served if start <= at < start + 60) for start in range(120)) == 6
    assert len(served) >= 11


def test_the_order_of_the_gates_is_401_429_402(meter: Mount, desk: Desk) -> None:
    desk.plan('spend_cap = "0"\nrate_limit = "1/minute"')
    key = desk.customer("alice")
    middleware = meter(answering({}))

    assert send(middleware, None).status == 401
    # A cap of nothing refuses everything that has a price; a refusal does not use the rate up.
    assert [send(middleware, key).status for _ in range(2)] == [402, 402]
    desk.run("UPDATE plans SET spend_cap = 1000")
    assert [send(middleware, key).status for _ in range(2)] == [200, 429]
    desk.run("UPDATE plans SET spend_cap = 0")
    assert send(middleware, key).status == 429


def test_one_customers_use_never_counts_against_another(meter: Mount, desk: Desk) -> None:
    desk.plan('spend_cap = "0.02"')
    alice, bob = desk.customer("alice"), desk.customer("bob")
    middleware = meter(answering(chat_answer(900, 100)))

    assert [send(middleware, alice).status for _ in range(2)] == [200, 402]
    assert send(middleware, bob).status == 200


def test_a_customer_first_named_by_the_host_is_made_on_the_default_plan(
    settings: Settings, clock: FrozenClock, desk: Desk
) -> None:
    desk.plan()
    chosen = settings.model_copy(update={"default_plan": "pro"})
    middleware = MeteringMiddleware(
        answering(chat_answer(1, 1)), identify=lambda scope: "newcomer", settings=chosen, clock=clock
    )

    async def crowd() -> list[int]:
        return [answer.status for answer in await asyncio.gather(*[ask(middleware, None, CHAT) for _ in range(10)])]

    assert run(middleware, crowd) == [200] * 10
    assert desk.rows("SELECT user_id, plan_id FROM customers") == [{"user_id": "newcomer", "plan_id": "pro"}]
    assert len(desk.events()) == 10


def test_a_default_plan_that_is_none_leaves_a_newcomer_unknown(
    settings: Settings, clock: FrozenClock, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.plan()
    chosen = settings.model_copy(update={"default_plan": "prro"})
    middleware = MeteringMiddleware(
        answering(chat_answer(1, 1)), identify=lambda scope: "newcomer", settings=chosen, clock=clock
    )

    assert send(middleware, None).status == 401
    assert "TOLLKEEPER_DEFAULT_PLAN names 'prro', which is no plan" in caplog.text
    assert desk.rows("SELECT FROM customers") == []


FREE_TIER = """
[plans.free]
name = "Free"
currency = "usd"
spend_cap = "0"
{limits}

[[plans.free.prices]]
model = "*"
token_type = "*"
per = 1000
tiers = [{ up_to = 50000, price = "0" }, { up_to = "inf", price = "0.01" }]
"""


@pytest.mark.parametrize(
    "text",
    [
        FREE_TIER.replace("{limits}", ""),
        FREE_TIER.replace("{limits}", "included_tokens = 50000").replace("up_to = 50000", "up_to = 1"),
    ],
    ids=["free tier", "included tokens"],
)
def test_a_cap_of_nothing_lets_the_free_tokens_through_and_not_one_more(meter: Mount, desk: Desk, text: str) -> None:
    desk.plan(text=text)
    key = desk.customer("alice", "free")
    body = {"model": "gpt-4o", "max_tokens": 950}
    middleware = meter(answering(chat_answer(20, 950)))

    async def burst() -> list[int]:
        first = [answer.status for answer in await asyncio.gather(*[ask(middleware, key, body) for _ in range(120)])]
        return first + [(await ask(middleware, key, body)).status for _ in range(20)]

    statuses = run(middleware, burst)

    [period] = desk.rows("SELECT spent, cost_units, tokens FROM usage_periods")
    assert period["spent"] == period["cost_units"] == 0
    assert 49_000 <= period["tokens"] <= 50_001
    assert set(statuses) == {200, 402}
    assert desk.rows("SELECT * FROM holds") == []


def test_what_is_paid_by_a_unit_that_nobody_can_foresee_stops_at_the_cap(meter: Mount, desk: Desk) -> None:
    desk.plan(
        text="""
[plans.images]
name = "Images"
currency = "usd"
spend_cap = "1.00"

[[plans.images.prices]]
model = "*"
meter = "images"
price = "0.10"
"""
    )
    key = desk.customer("alice", "images")

    async def route(scope: Any, receive: Any, send: Any) -> None:
        record_usage(scope, model_id="painter", units={"images": 1})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    middleware = meter(route)

    async def burst() -> list[int]:
        answers = await asyncio.gather(*[ask(middleware, key, {"model": "painter"}) for _ in range(40)])
        return [answer.status for answer in answers]

    assert run(middleware, burst).count(200) == 10
    assert desk.rows("SELECT spent FROM usage_periods") == [{"spent": 100}]


def test_a_throttling_plan_slows_down_at_the_cap_and_cuts_nothing_off(
    meter: Mount, desk: Desk, clock: FrozenClock
) -> None:
    desk.plan('spend_cap = "0.02"\nat_cap = "throttle"\nrate_limit = "100/minute"\nthrottle_limit = "2/minute"')
    key = desk.customer("alice")
    middleware = meter(answering(chat_answer(900, 100)))

    before = [send(middleware, key).status for _ in range(3)]
    clock.advance(timedelta(seconds=61))
    after = [send(middleware, key) for _ in range(3)]

    # The first two reach the cap of two minor units; from there on it is two a minute, those two included.
    assert before == [200, 200, 429]
    assert [answer.status for answer in after] == [200, 200, 429]
    assert after[1].header("tollkeeper-spend-cap-reached") == "true"
    assert after[2].header("ratelimit-policy") == '"requests";q=2;w=60'


def test_a_warning_plan_serves_past_the_cap_and_says_so(meter: Mount, desk: Desk) -> None:
    desk.plan('spend_cap = "0.02"\nat_cap = "warn"')
    key = desk.customer("alice")
    middleware = meter(answering(chat_answer(900, 100)))

    answers = [send(middleware, key) for _ in range(4)]

    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.header("tollkeeper-spend-cap-reached") for answer in answers] == [None, None, "true", "true"]


@pytest.mark.parametrize(("given", "named"), [({}, "DATABASE_URL"), ({"database_url": "postgresql://x"}, "REDIS_URL")])
def test_a_missing_setting_is_told_when_the_middleware_is_made_and_not_at_the_first_request(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], named: str
) -> None:
    for name in ("DATABASE_URL", "TOLLKEEPER_DATABASE_URL", "REDIS_URL", "TOLLKEEPER_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(SettingMissing, match=named):
        MeteringMiddleware(answering({}), **given)
