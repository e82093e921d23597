"""Servers that may be stalled and killed, and what stands on them for each test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
import redis

from integration.metering.apps import answering, chat_answer
from integration.metering.conftest import NOW, App, Desk, closed
from tollkeeper import MeteringMiddleware, Settings
from tollkeeper.embedded import Services
from tollkeeper.services import sweeping
from tollkeeper.settings import read_settings
from tollkeeper.storage.database import Database
from tollkeeper.storage.migrating import upgrade
from tollkeeper.testing.clock import FrozenClock

T = TypeVar("T")

STORE_BUDGET = 0.8
REDIS_BUDGET = 0.2
SLACK = 0.4
"""What a busy machine may add to a budget."""

CHAT = {"model": "gpt-4o", "messages": [], "max_tokens": 945}
"""With the answer below: 1000 tokens in fact, and hardly less at most, one cent."""


@pytest.fixture(scope="session")
def own() -> Iterator[Services]:
    """Servers of these tests' own. Killing PostgreSQL's processes loses nothing that the kernel has, so fsync can be off."""
    with Services(fsync=False) as services:
        with psycopg.connect(services.database_url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE pristine")
        upgrade(_database(services, "pristine"))
        yield services


@dataclass
class Site:
    """A database and a Redis for one test, with a desk to set customers up at."""

    own: Services
    database_url: str
    redis_url: str
    journal: Path
    desk: Desk

    def settings(self, **options: Any) -> Settings:
        given: dict[str, Any] = {
            "database_url": self.database_url,
            "redis_url": self.redis_url,
            "journal_dir": self.journal,
            "store_budget_ms": int(STORE_BUDGET * 1000),
            "redis_budget_ms": int(REDIS_BUDGET * 1000),
            **options,
        }
        return read_settings(**given)

    def mounted(self, app: App | None = None, **options: Any) -> MeteringMiddleware:
        """The middleware over an app, by default one that answers with 1000 tokens."""
        below = app if app is not None else answering(chat_answer(50, 950))
        return MeteringMiddleware(below, settings=self.settings(**options), clock=FrozenClock(NOW))

    def replay(self) -> int:
        return asyncio.run(sweeping.replay_journals(self.database_url, None, self.journal, NOW))

    def sweep(self, now: datetime = NOW + timedelta(hours=1)) -> int:
        return asyncio.run(sweeping.settle_expired_holds(self.database_url, None, self.desk.database, now))

    def request_ids(self) -> list[str]:
        return [row["request_id"] for row in self.desk.rows("SELECT request_id FROM usage_events")]

    def period(self) -> dict[str, Any]:
        [row] = self.desk.rows("SELECT events, tokens, cost_units, spent FROM usage_periods")
        return row

    def backends(self) -> list[int]:
        """Processes of PostgreSQL that serve the request path."""
        rows = self.desk.rows(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'tollkeeper request path'"
            " AND datname = current_database() ORDER BY backend_start"
        )
        return [row["pid"] for row in rows]

    def counters(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url, decode_responses=True)

    def sums_agree(self) -> None:
        """Events and running totals say the same, and no hold is left."""
        [counted] = self.desk.rows(
            "SELECT count(*) AS events, coalesce(sum(tokens_in + tokens_out), 0) AS tokens,"
            " coalesce(sum(cost_units), 0) AS cost_units FROM usage_events WHERE billable"
        )
        [kept] = self.desk.rows(
            "SELECT sum(events) AS events, sum(tokens) AS tokens, sum(cost_units) AS cost_units FROM usage_periods"
        )
        assert kept == counted
        assert self.desk.rows("SELECT id FROM holds") == []


@pytest.fixture
def site(own: Services, tmp_path: Path) -> Iterator[Site]:
    with psycopg.connect(own.database_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS site WITH (FORCE)")
        connection.execute("CREATE DATABASE site TEMPLATE pristine")
    with redis.Redis.from_url(own.redis_url) as client:
        client.flushall()
    url = _database(own, "site")
    with Database(url) as database:
        yield Site(own, url, own.redis_url, tmp_path / "journal", Desk(database))


def run(middleware: MeteringMiddleware, work: Callable[[], Awaitable[T]]) -> T:
    """Do the work, then shut the middleware down as a server does."""

    async def once() -> T:
        try:
            return await work()
        finally:
            await closed(middleware)

    return asyncio.run(once())


@contextlib.contextmanager
def stopped(*processes: int) -> Iterator[None]:
    """Processes stand still meanwhile."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def _database(services: Services, name: str) -> str:
    return services.database_url.rsplit("/", 1)[0] + f"/{name}"
