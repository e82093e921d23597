"""What happens when PostgreSQL or Redis is refused, frozen, restarted or empty in the middle of the day."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.metering.apps import answering, chat_answer
from integration.metering.conftest import NOW, Desk, ask, closed
from tollkeeper import MeteringMiddleware, Settings
from tollkeeper.embedded import Services
from tollkeeper.services.journaling import replay
from tollkeeper.settings import read_settings
from tollkeeper.storage.database import Database
from tollkeeper.storage.migrating import upgrade
from tollkeeper.storage.settlement import Settlement
from tollkeeper.testing.clock import FrozenClock

CHAT = {"model": "gpt-4o", "messages": [], "max_tokens": 1000}
BUDGET_SECONDS = 0.6


@pytest.fixture(scope="module")
def own() -> Iterator[Services]:
    """Servers of this file's own, since it stops and freezes them."""
    with Services(fsync=False) as services:
        yield services


@pytest.fixture
def away(own: Services, tmp_path: Path) -> Iterator[tuple[Services, Desk, Callable[..., Settings]]]:
    import psycopg
    import redis

    with psycopg.connect(own.database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    upgrade(own.database_url)
    redis.Redis.from_url(own.redis_url).flushall()

    def settings(**options: Any) -> Settings:
        return read_settings(
            database_url=own.database_url,
            redis_url=own.redis_url,
            journal_dir=tmp_path / "journal",
            store_budget_ms=int(BUDGET_SECONDS * 1000),
            redis_budget_ms=100,
            **options,
        )

    with Database(own.database_url) as database:
        yield own, Desk(database), settings


def run(middleware: MeteringMiddleware, work: Callable[[], Awaitable[Any]]) -> Any:
    async def once() -> Any:
        try:
            return await work()
        finally:
            await closed(middleware)

    return asyncio.run(once())


def mounted(settings: Settings, **answer: Any) -> MeteringMiddleware:
    return MeteringMiddleware(answering(chat_answer(900, 100), **answer), settings=settings, clock=FrozenClock(NOW))


async def replayed(settings: Settings) -> int:
    async with Settlement(settings.need_database_url()) as settlement:
        return await replay(settings.journal_dir, lambda events: settlement.settle(events, now=NOW))


def test_closed_answers_503_at_once_while_postgresql_is_down_and_serves_again_after(away: Any) -> None:
    own, desk, settings = away
    desk.plan()
    key = desk.customer("alice")
    middleware = mounted(settings(on_store_down="closed"))

    async def day() -> list[int]:
        statuses = [(await ask(middleware, key, CHAT)).status]
        own.postgres.kill()
        began = time.monotonic()
        answer = await ask(middleware, key, CHAT)
        assert time.monotonic() - began < BUDGET_SECONDS + 1
        assert answer.header("retry-after") == "5"
        statuses.append(answer.status)
        own.postgres.restart()
        await asyncio.sleep(0.6)  # the store is left alone for half a second after a failure
        statuses.append((await ask(middleware, key, CHAT)).status)
        return statuses

    assert run(middleware, day) == [200, 503, 200]
    assert len(desk.events()) == 2


def test_open_serves_known_customers_from_memory_and_journals_their_usage(away: Any) -> None:
    own, desk, settings = away
    desk.plan()
    alice, stranger = desk.customer("alice"), desk.customer("stranger")
    chosen = settings(on_store_down="open")
    middleware = mounted(chosen)

    async def day() -> list[int]:
        statuses = [(await ask(middleware, alice, CHAT)).status]
        own.postgres.kill()
        statuses += [(await ask(middleware, key, CHAT)).status for key in (alice, alice, stranger)]
        own.postgres.restart()
        await asyncio.sleep(0.6)
        statuses.append((await ask(middleware, alice, CHAT)).status)
        return statuses

    assert run(middleware, day) == [200, 200, 200, 503, 200]
    assert len(desk.events()) == 4
    assert desk.rows("SELECT events, spent FROM usage_periods") == [{"events": 4, "spent": 4}]
    assert list(chosen.journal_dir.glob("*.jsonl")) == []


def test_a_journal_that_is_replayed_twice_counts_once(away: Any) -> None:
    own, desk, settings = away
    desk.plan()
    key = desk.customer("alice")
    chosen = settings(on_store_down="open")
    middleware = mounted(chosen)

    async def outage() -> None:
        await ask(middleware, key, CHAT)
        own.postgres.kill()
        await ask(middleware, key, CHAT)

    run(middleware, outage)
    own.postgres.restart()
    [journal] = chosen.journal_dir.glob("*.jsonl")
    copy = journal.read_bytes()

    assert asyncio.run(replayed(chosen)) == 1
    # As if the process had died after the commit and before the file was removed; with a line that was cut off.
    journal.write_bytes(copy + copy[: len(copy) // 2])
    assert asyncio.run(replayed(chosen)) == 1
    assert asyncio.run(replayed(chosen)) == 0
    assert len(desk.events()) == 2


def test_a_frozen_postgresql_costs_a_request_no_more_than_its_budgets(away: Any) -> None:
    own, desk, settings = away
    desk.plan()
    key = desk.customer("alice")
    middleware = mounted(settings(on_store_down="open"))

    async def day() -> float:
        assert (await ask(middleware, key, CHAT)).status == 200
        own.postgres.pause()
        try:
            began = time.monotonic()
            assert (await ask(middleware, key, CHAT)).status == 200
            return time.monotonic() - began
        finally:
            own.postgres.resume()

    # One budget before the route; after it the store is known to be away.
    assert run(middleware, day) < 2 * BUDGET_SECONDS + 1


def test_the_first_request_after_a_restart_of_postgresql_succeeds(away: Any) -> None:
    own, desk, settings = away
    desk.plan()
    key = desk.customer("alice")
    middleware = mounted(settings(on_store_down="closed"))

    async def day() -> list[int]:
        before = (await ask(middleware, key, CHAT)).status
        own.postgres.restart()
        return [before, (await ask(middleware, key, CHAT)).status]

    assert run(middleware, day) == [200, 200]
    assert len(desk.events()) == 2


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_the_cap_holds_through_postgresql_alone_while_redis_is_away(away: Any, fault: str) -> None:
    own, desk, settings = away
    desk.plan('spend_cap = "0.10"')
    key = desk.customer("alice")
    middleware = mounted(settings())
    exact = {"model": "gpt-4o", "max_tokens": 950}

    async def day() -> list[int]:
        statuses = [(await ask(middleware, key, exact)).status for _ in range(3)]
        getattr(own.redis, fault)()
        try:
            burst = await asyncio.gather(*[ask(middleware, key, exact) for _ in range(30)])
            statuses += [answer.status for answer in burst]
        finally:
            own.redis.restart() if fault == "kill" else own.redis.resume()
        await asyncio.sleep(1.1)
        statuses += [(await ask(middleware, key, exact)).status for _ in range(3)]
        return statuses

    statuses = run(middleware, day)

    assert set(statuses) == {200, 402}
    [period] = desk.rows("SELECT spent FROM usage_periods")
    assert 9 <= period["spent"] <= 10
    assert desk.rows("SELECT * FROM holds") == []


def test_a_rate_limit_alone_turns_nobody_away_while_redis_is_gone(away: Any) -> None:
    own, desk, settings = away
    desk.plan('rate_limit = "1/minute"')
    key = desk.customer("alice")
    middleware = mounted(settings())

    async def day() -> list[int]:
        own.redis.kill()
        try:
            return [(await ask(middleware, key, CHAT)).status for _ in range(3)]
        finally:
            own.redis.restart()

    assert run(middleware, day) == [200, 200, 200]
