"""What a process remembers of a customer is never believed without asking: whatever changes is in force at the next request.

All requests of a test go through one process and its connections, so that each finds what the one before has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from integration.metering.apps import answering, chat_answer
from integration.metering.conftest import PRO, Desk, ask, closed
from tollkeeper import MeteringMiddleware
from tollkeeper.storage.settlement import Settlement

Mount = Callable[..., MeteringMiddleware]
CHAT = {"model": "gpt-4o", "messages": [], "max_tokens": 1000}


def run(middleware: MeteringMiddleware, work: Callable[[], Awaitable[Any]]) -> Any:
    async def once() -> Any:
        try:
            return await work()
        finally:
            await closed(middleware)

    return asyncio.run(once())


def warmed_up(meter: Mount, desk: Desk) -> tuple[MeteringMiddleware, str]:
    desk.plan('spend_cap = "1.00"\nrate_limit = "1000/minute"')
    return meter(answering(chat_answer(900, 100))), desk.customer("alice")


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way each batch was stored."""
    taken: list[str] = []

    def note(name: str) -> None:
        way = getattr(Settlement, name)

        def noted(*args: Any, **more: Any) -> Any:
            taken.append(name)
            return way(*args, **more)

        monkeypatch.setattr(Settlement, name, noted)

    note("_write_over")
    note("_under_lock")
    return taken


def test_a_customer_who_comes_again_is_stored_at_once(meter: Mount, desk: Desk, ways: list[str]) -> None:
    middleware, key = warmed_up(meter, desk)

    async def day() -> None:
        for _ in range(4):
            assert (await ask(middleware, key, CHAT)).status == 200

    run(middleware, day)
    assert ways[-4:] == ["_under_lock", "_write_over", "_write_over", "_write_over"]
    # 1,000 tokens at a thousandth of a cent each, four times
    assert desk.rows("SELECT events, tokens, spent, version FROM usage_periods") == [
        {"events": 4, "tokens": 4000, "spent": 4, "version": 4}
    ]
    assert desk.rows("SELECT id FROM holds") == []


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("UPDATE plans SET spend_cap = 2", 402),
        ("UPDATE plans SET rate_limit = '1/minute'", 429),
        ("UPDATE customers SET own_spend_cap = 2", 402),
        ("UPDATE customers SET status = 'suspended'", 401),
        ("UPDATE api_keys SET revoked_at = created_at", 401),
        ("DELETE FROM api_keys", 401),
        ("UPDATE usage_periods SET spent = 100, version = version + 1", 402),
        ("UPDATE customers SET plan_id = 'small'", 402),
    ],
)
def test_what_is_changed_by_hand_is_in_force_at_the_next_request(
    meter: Mount, desk: Desk, change: str, status: int
) -> None:
    middleware, key = warmed_up(meter, desk)
    desk.plan(
        'spend_cap = "0.02"', text=PRO.replace("[plans.pro]", "[plans.small]").replace("plans.pro.", "plans.small.")
    )

    async def day() -> list[int]:
        before = [(await ask(middleware, key, CHAT)).status for _ in range(2)]
        desk.run(change)
        return [*before, (await ask(middleware, key, CHAT)).status]

    assert run(middleware, day) == [200, 200, status]


def test_a_key_that_is_given_to_somebody_else_is_charged_to_them(meter: Mount, desk: Desk) -> None:
    middleware, key = warmed_up(meter, desk)
    desk.customer("bob")

    async def day() -> None:
        for _ in range(2):
            await ask(middleware, key, CHAT)
        desk.run("UPDATE api_keys SET user_id = 'bob' WHERE user_id = 'alice'")
        await ask(middleware, key, CHAT)

    run(middleware, day)
    assert sorted(row["user_id"] for row in desk.events()) == ["alice", "alice", "bob"]


def test_figures_that_somebody_corrects_while_a_request_runs_are_built_upon(
    meter: Mount, desk: Desk, ways: list[str]
) -> None:
    middleware, key = warmed_up(meter, desk)
    plain = middleware.app

    async def corrected(scope: Any, receive: Any, send: Any) -> None:
        if ways[-1:] == ["_write_over"]:
            # Not even the version says that the row is another one.
            desk.run('UPDATE usage_periods SET totals = \'{"gpt-4o": {"input": 5000}}\', cost_units = 5, spent = 5')
        await plain(scope, receive, send)

    middleware.app = corrected

    async def day() -> None:
        for _ in range(3):
            await ask(middleware, key, CHAT)

    run(middleware, day)
    assert ways[-4:] == ["_under_lock", "_write_over", "_write_over", "_under_lock"]
    assert desk.rows("SELECT spent, cost_units FROM usage_periods") == [{"spent": 6, "cost_units": 6}]


def test_processes_that_serve_one_customer_in_turn_count_every_request(meter: Mount, desk: Desk) -> None:
    first, key = warmed_up(meter, desk)
    second = meter(answering(chat_answer(900, 100)))

    async def day() -> None:
        for _ in range(5):
            for middleware in (first, second):
                await asyncio.gather(*[ask(middleware, key, CHAT) for _ in range(3)])
        await closed(second)

    run(first, day)
    assert desk.rows("SELECT events, spent FROM usage_periods") == [{"events": 30, "spent": 30}]
    assert desk.rows("SELECT sum(cost_units) AS cost FROM usage_events") == [{"cost": 30}]


def test_two_keys_of_one_customer_share_what_is_known(meter: Mount, desk: Desk, ways: list[str]) -> None:
    middleware, key = warmed_up(meter, desk)
    desk.customer("bob")
    desk.run("UPDATE api_keys SET user_id = 'alice'")

    async def day() -> None:
        for each in (key, "tk_bob", key, "tk_bob"):
            await ask(middleware, each, CHAT)

    run(middleware, day)
    assert ways[-4:] == ["_under_lock", "_write_over", "_write_over", "_write_over"]
    assert desk.rows("SELECT events, spent FROM usage_periods") == [{"events": 4, "spent": 4}]


def test_another_connection_believes_nothing_that_an_earlier_one_has_read(
    meter: Mount, desk: Desk, ways: list[str]
) -> None:
    middleware, key = warmed_up(meter, desk)

    async def day() -> list[int]:
        statuses = [(await ask(middleware, key, CHAT)).status for _ in range(2)]
        with psycopg.connect(desk.database.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'tollkeeper request path' AND datname = current_database()"
            )
        statuses += [(await ask(middleware, key, CHAT)).status for _ in range(2)]
        return statuses

    assert run(middleware, day) == [200] * 4
    assert ways[-3:] == ["_write_over", "_under_lock", "_write_over"]
    assert desk.rows("SELECT events, spent FROM usage_periods") == [{"events": 4, "spent": 4}]
