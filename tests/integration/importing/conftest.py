"""A database with customers, and an import that remembers what it was told."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, Any
from uuid import UUID

import pytest

from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.services.importing import Form, ImportSummary, Rejected, Watch, import_usage
from tollkeeper.services.onboarding import add_customer
from tollkeeper.services.planning import apply_plans
from tollkeeper.storage.database import Database, all_rows
from tollkeeper.testing.clock import FrozenClock

PLANS = """
[plans.pro]
currency = "usd"
quota_tokens = 1_000

[[plans.pro.prices]]
per = 1_000
price = "0.01"
"""


class Desk:
    """Imports files that are given as rows or bytes, and reads what was stored."""

    def __init__(self, database: Database, clock: FrozenClock) -> None:
        self.database = database
        self.clock = clock
        self.rejected: list[str] = []
        self.batches: list[int] = []
        self.waited = 0

    def take(self, source: IO[bytes], form: Form | None = "jsonl") -> ImportSummary:
        """Import a file; what was rejected is kept as `line: reason`."""

        def wait() -> None:
            self.waited += 1

        watch = Watch(
            rejected=lambda row: self.rejected.append(_line(row)),
            progress=lambda summary: self.batches.append(summary.rows),
            waiting=wait,
        )
        return import_usage(self.database, source, form, self.clock, watch)

    def take_rows(self, *rows: dict[str, Any]) -> ImportSummary:
        return self.take(io.BytesIO(b"".join(json.dumps(row).encode() + b"\n" for row in rows)))

    def rows(self, statement: str) -> list[dict[str, Any]]:
        with self.database.transaction() as connection:
            return all_rows(connection, statement)

    def events(self) -> list[dict[str, Any]]:
        return self.rows('SELECT * FROM usage_events ORDER BY "timestamp", id')


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A good row with an id of its own."""
    return {
        "id": str(UUID(int=number)),
        "user_id": "ada",
        "timestamp": "2026-11-03T10:00:00Z",
        "model_id": "gpt-4o",
        "tokens_in": 100,
        "tokens_out": 10,
        **changes,
    }


def _line(rejected: Rejected) -> str:
    return f"{rejected.line}: {rejected.reason}"


@pytest.fixture
def desk(migrated_database_url: str, clock: FrozenClock) -> Iterator[Desk]:
    added = datetime(2026, 11, 1, tzinfo=UTC)
    with Database(migrated_database_url) as database:
        apply_plans(database, parse_plans(PLANS), added)
        for user_id in ("ada", "bob"):
            add_customer(database, user_id, email=f"{user_id}@example.com", plan_id="pro", now=added)
        yield Desk(database, clock)
