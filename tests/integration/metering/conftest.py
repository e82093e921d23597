"""A desk to set customers up at, and a way to send requests through the middleware that sees every message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.types import Message

from tollkeeper.domain.keys import hash_key
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.middleware.metering import MeteringMiddleware
from tollkeeper.settings import Settings, read_settings
from tollkeeper.storage.customers import Customer, insert_customer
from tollkeeper.storage.database import Database, all_rows, change
from tollkeeper.storage.keys import insert_key
from tollkeeper.storage.plans import add_version, save_plan
from tollkeeper.testing.clock import FrozenClock

NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


App = Callable[[Any, Any, Any], Awaitable[None]]

PRO = """
[plans.pro]
name = "Pro"
currency = "usd"
{limits}

[[plans.pro.prices]]
model = "*"
token_type = "*"
per = 1000
price = "0.01"
"""
"""One cent for a thousand tokens of any kind, so that a token costs a thousandth of a minor unit."""


class Desk:
    """Plans, customers and keys put into the database; rows read out of it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def plan(self, limits: str = "", text: str = PRO) -> None:
        with self.database.transaction() as connection:
            for plan in parse_plans(text.replace("{limits}", limits)):
                save_plan(connection, plan, BEGINNING)
                add_version(connection, plan, 1, BEGINNING, immediate=False)

    def customer(self, user_id: str, plan: str = "pro") -> str:
        """A customer with a key of their own, which is returned."""
        key = f"tk_{user_id}"
        with self.database.transaction() as connection:
            insert_customer(
                connection, Customer(user_id, f"{user_id}@example.com", plan, None, "active", None, BEGINNING)
            )
            insert_key(connection, user_id, hash_key(key), key[:6], BEGINNING)
        return key

    def rows(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        with self.database.transaction() as connection:
            return all_rows(connection, statement, **parameters)

    def events(self) -> list[dict[str, Any]]:
        return self.rows('SELECT * FROM usage_events ORDER BY recorded_at, "timestamp"')

    def run(self, statement: str, **parameters: object) -> None:
        with self.database.transaction() as connection:
            change(connection, statement, **parameters)

    def tamper(self, statement: str) -> None:
        """Change what the database keeps from being changed."""
        with self.database.transaction() as connection:
            change(connection, "SET LOCAL session_replication_role = replica")
            change(connection, statement)


@dataclass
class Answer:
    """What a client got."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    rows_before: list[int] = field(default_factory=list)
    """How many events were stored when each chunk arrived."""
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


def http_scope(
    path: str = "/v1/chat/completions", *, method: str = "POST", headers: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": raw,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
        **more,
    }


async def ask(
    app: App,
    key: str | None,
    body: Any = None,
    *,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    headers: dict[str, str] | None = None,
    on_chunk: Callable[[], int] | None = None,
    scope: dict[str, Any] | None = None,
) -> Answer:
    """Send one request through an ASGI app, as a server would, and collect what a client would see."""
    sent = json.dumps(body).encode() if body is not None else b""
    base = {"content-type": "application/json", "content-length": str(len(sent))} if sent else {}
    named = {"authorization": f"Bearer {key}"} if key is not None else {}
    scope = scope or http_scope(path, method=method, headers={**base, **named, **(headers or {})})
    incoming = [{"type": "http.request", "body": sent, "more_body": False}]
    answer = Answer()
    gone = asyncio.Event()

    async def receive() -> Message:
        if incoming:
            return incoming.pop(0)
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            answer.chunks.append(bytes(message.get("body", b"")))
            if on_chunk is not None:
                answer.rows_before.append(on_chunk())
            answer.complete = not message.get("more_body", False)

    try:
        await app(scope, receive, send)
    finally:
        gone.set()
    return answer


async def closed(middleware: MeteringMiddleware) -> None:
    """Shut the middleware down as a server does, so that everything under way is finished."""
    scope: dict[str, Any] = {"type": "lifespan", "asgi": {"version": "3.0"}}

    async def receive() -> Message:
        return {"type": "lifespan.shutdown"}

    async def send(message: Message) -> None:
        del message

    inner, middleware.app = middleware.app, _shuts_down
    await middleware(scope, receive, send)
    middleware.app = inner


async def _shuts_down(scope: Any, receive: Any, send: Any) -> None:
    del scope
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(NOW)


@pytest.fixture
def settings(migrated_database_url: str, redis_url: str, tmp_path: Any) -> Settings:
    return read_settings(
        database_url=migrated_database_url, redis_url=redis_url, journal_dir=tmp_path / "journal", store_budget_ms=5000
    )


@pytest.fixture
def desk(migrated_database_url: str) -> Iterator[Desk]:
    with Database(migrated_database_url) as database:
        yield Desk(database)


@pytest.fixture
def meter(settings: Settings, clock: FrozenClock) -> Callable[..., MeteringMiddleware]:
    """Mounts the middleware over an app."""

    def mount(app: App, **options: Any) -> MeteringMiddleware:
        return MeteringMiddleware(app, settings=settings, clock=clock, **options)

    return mount
