"""One round of everything that is compared, in turn, so that a busy minute of the machine is everybody's."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import orjson
import psycopg

from scale import statements
from scale.seeding import BILLED, CUSTOMERS, END, MODELS
from tollkeeper.clock import SystemClock
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage
from tollkeeper.services.importing import Watch, import_usage
from tollkeeper.storage.database import Database
from tollkeeper.storage.settlement import Settlement

VALUES = {"start": BILLED, "end": END, "models": list(MODELS)}
BATCH = 500


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds, except where the name says otherwise."""

    group_by: float
    read_totals: float
    read_view: float
    draft_sql: float
    close: float
    proof: float
    close_cpu: float
    """Processor time of the close's own process."""
    close_mib: float
    group_by_work: float
    draft_sql_work: float
    close_work: float
    """Processor time altogether, the server's included: what stays the same when the machine has other things to do."""

    @property
    def drafting(self) -> float:
        """The close without its counting: claims, prices, invoices, lines, audit trail, periods frozen."""
        return self.close - self.proof


@dataclass(frozen=True, slots=True)
class Ingest:
    """Rows a second."""

    copy: float
    statement: float
    settled: float
    imported: float
    skipped: float


def one_round(url: str) -> Round:
    """Every statement, then a close in a process of its own, which is undone again."""
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC -c work_mem=64MB") as connection:
        for statement in statements.REOPEN:
            connection.execute(statement, VALUES if "%(" in statement else None)
        connection.execute(statements.DRAFT_TABLES)
        group_by, group_by_work = _timed(connection, statements.GROUP_BY)
        read_totals, _ = _timed(connection, statements.READ_TOTALS)
        read_view, _ = _timed(connection, statements.READ_VIEW)
        draft_sql, draft_sql_work = _timed(connection, statements.DRAFT)
        before = _server_seconds(connection)
        closed = _close(url)
        close_work = closed["cpu"] + _server_seconds(connection) - before
    return Round(
        group_by, read_totals, read_view, draft_sql,
        closed["seconds"], closed["proof"], closed["cpu"], closed["memory"],
        group_by_work, draft_sql_work, close_work,
    )  # fmt: skip


def ingest(url: str, rows: int) -> Ingest:
    """The same rows in batches by `COPY`, by our one statement, priced and added to totals, and by import."""
    events = [_event(n) for n in range(rows)]
    lines = b"".join(_line(_event(n)) for n in range(rows))
    with Database(url) as database:
        began = time.perf_counter()
        _import(database, lines)
        imported = time.perf_counter()
        _import(database, lines)
        skipped = time.perf_counter()
    settled = asyncio.run(_settle(url, events))
    copied, inserted = _copy(url, rows), _insert(url, rows)
    return Ingest(
        rows / copied, rows / inserted, rows / settled, rows / (imported - began), rows / (skipped - imported)
    )


def _timed(connection: psycopg.Connection, statement: str) -> tuple[float, float]:
    work, began = _server_seconds(connection), time.perf_counter()
    connection.execute(statement.encode(), VALUES)
    return time.perf_counter() - began, _server_seconds(connection) - work


def _server_seconds(connection: psycopg.Connection) -> float:
    """Processor time that the server has used, its present and its past processes together (as Linux tells it)."""
    row = connection.execute("SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int").fetchone()
    assert row is not None
    children = Path(f"/proc/{row[0]}/task/{row[0]}/children").read_text().split()
    ticks = sum(_ticks(Path(f"/proc/{pid}/stat"), 2) for pid in children) + _ticks(Path(f"/proc/{row[0]}/stat"), 4)
    return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(stat: Path, fields: int) -> int:
    """User and system time, and with four fields those of children that have ended."""
    try:
        return sum(map(int, stat.read_text().rpartition(")")[2].split()[11 : 11 + fields]))
    except FileNotFoundError:
        return 0


def _close(url: str) -> dict[str, float]:
    command = [sys.executable, "-m", "scale.one_close", url]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    assert found["closed"] > CUSTOMERS * 0.5, "something is wrong with the data"
    return found


def _event(n: int) -> UsageEvent:
    at = END + timedelta(seconds=n)
    usage = Usage(MODELS[n % len(MODELS)], 200 + n % 3000, 100, n % 100)
    return UsageEvent(uuid4(), f"user-{n * 7919 % CUSTOMERS}", at, usage, 200)


def _line(event: UsageEvent) -> bytes:
    row = {
        "id": str(event.id), "user_id": event.user_id, "timestamp": event.timestamp.isoformat(),
        "model_id": event.usage.model_id, "tokens_in": event.usage.tokens_in, "tokens_out": event.usage.tokens_out,
        "cached_tokens_in": event.usage.cached_tokens_in,
    }  # fmt: skip
    return json.dumps(row).encode() + b"\n"


class _InTheFuture(SystemClock):
    def now(self):  # type: ignore[no-untyped-def]
        return END + timedelta(days=60)


def _import(database: Database, lines: bytes) -> None:
    def nothing(*_: object) -> None:
        pass

    watch = Watch(rejected=nothing, progress=nothing, waiting=nothing)
    done = import_usage(database, io.BytesIO(lines), "jsonl", _InTheFuture(), watch)
    assert done.rejected == 0, done


async def _settle(url: str, events: list[UsageEvent]) -> float:
    async with Settlement(url) as settlement:
        began = time.perf_counter()
        for start in range(0, len(events), BATCH):
            await settlement.settle(events[start : start + BATCH], now=END, look_up=False)
        return time.perf_counter() - began


_COLUMNS = (
    'id, user_id, "timestamp", model_id, tokens_in, tokens_out, cached_tokens_in, cost_units, status_code, recorded_at'
)
_TYPES = ["uuid", "text", "timestamptz", "text", "int8", "int8", "int8", "numeric", "int2", "timestamptz"]


def _rows(count: int) -> list[tuple[object, ...]]:
    return [
        (uuid4(), f"user-{n * 7919 % CUSTOMERS}", END + timedelta(seconds=n), MODELS[n % len(MODELS)], 200, 100, n % 100, 1, 200, END)
        for n in range(count)
    ]  # fmt: skip


def _copy(url: str, count: int) -> float:
    rows = _rows(count)
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        for start in range(0, count, BATCH):
            statement = f"COPY usage_events ({_COLUMNS}) FROM STDIN (FORMAT binary)"
            with connection.cursor().copy(statement.encode()) as copy:
                copy.set_types(_TYPES)
                for row in rows[start : start + BATCH]:
                    copy.write_row(row)
        return time.perf_counter() - began


_INSERT = f"""
INSERT INTO usage_events ({_COLUMNS}) SELECT r.* FROM json_to_recordset(%s::json) AS r(
    id uuid, user_id text, "timestamp" timestamptz, model_id text, tokens_in int8, tokens_out int8, cached_tokens_in int8,
    cost_units numeric, status_code int2, recorded_at timestamptz) ON CONFLICT DO NOTHING
"""


def _insert(url: str, count: int) -> float:
    names = [name.strip().strip('"') for name in _COLUMNS.split(",")]
    rows = _rows(count)
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.perf_counter()
        for start in range(0, count, BATCH):
            batch = [dict(zip(names, row, strict=True)) for row in rows[start : start + BATCH]]
            connection.execute(_INSERT.encode(), (orjson.dumps(batch, default=str).decode(),))
        return time.perf_counter() - began
