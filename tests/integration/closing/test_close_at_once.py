"""Many closes at once, usage coming in meanwhile, and a close that is killed: one invoice for each period all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.exc import IntegrityError, ProgrammingError

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, WITH_FEE, Ledger, wait_until
from tollkeeper.domain.errors import StoreUnavailable
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage
from tollkeeper.embedded.postgres import EmbeddedPostgres
from tollkeeper.storage.database import Database
from tollkeeper.storage.migrating import upgrade
from tollkeeper.storage.settlement import Settlement

CUSTOMERS = [f"user-{n:02}" for n in range(20)]

_CLOSE = """
import sys
from datetime import datetime
from tollkeeper.services.closing import close_due
from tollkeeper.storage.database import Database
at = datetime.fromisoformat(sys.argv[2])
with Database(sys.argv[1]) as database:
    print("ready", flush=True)
    sys.stdin.readline()
    close_due(database, now=at, as_of=at, chunk=1)
"""


def some_usage(ledger: Ledger) -> None:
    for user in CUSTOMERS:
        ledger.customer(user)
    ledger.store(
        [UsageEvent(uuid4(), user, NOVEMBER, Usage("gpt-4o", n + 1)) for n, user in enumerate(CUSTOMERS)], NOVEMBER
    )


def one_invoice_each(ledger: Ledger) -> None:
    totals = ledger.rows("SELECT user_id, total_amount FROM invoices ORDER BY user_id")
    assert [(row["user_id"], row["total_amount"]) for row in totals] == [
        (user, n + 1) for n, user in enumerate(CUSTOMERS)
    ]
    assert len(ledger.rows("SELECT * FROM stripe_reports")) == len(CUSTOMERS)
    assert {row["status"] for row in ledger.rows("SELECT status FROM usage_periods")} == {"closed"}


def test_eight_closes_at_once_draft_each_invoice_once_between_them(ledger: Ledger) -> None:
    ledger.plan(CENT)
    some_usage(ledger)
    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(ledger.close, grace=n % 2, chunk=3) for n in range(8)]
        summaries = [run.result() for run in runs]
    assert sum(summary.closed for summary in summaries) == len(CUSTOMERS)
    assert sum(summary.invoices for summary in summaries) == len(CUSTOMERS)
    one_invoice_each(ledger)


def test_base_fees_are_billed_once_by_closes_at_once(ledger: Ledger) -> None:
    ledger.plan(WITH_FEE)
    for user in CUSTOMERS:
        ledger.customer(user, plan="fee")
    with ThreadPoolExecutor(6) as pool:
        for run in [pool.submit(ledger.close, as_of=JANUARY, chunk=4) for _ in range(6)]:
            run.result()
    counts = ledger.rows("SELECT count(*) AS n, sum(total_amount) AS total FROM invoices")
    assert counts == [{"n": 40, "total": Decimal(40 * 9900)}]


def test_a_person_who_closes_waits_for_usage_that_is_just_being_stored(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=5)
    with psycopg.connect(ledger.database.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT FROM usage_periods FOR UPDATE")
        assert ledger.close(grace=1, as_of=DECEMBER + timedelta(seconds=1)).closed == 0, "a sweep goes on"
        close = pool.submit(ledger.close)
        time.sleep(0.2)
        assert not close.done()
        other.commit()
        assert close.result(timeout=10).closed == 1


def test_closes_of_one_customer_queue_up_whichever_periods_they_are_about(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=5)
    with psycopg.connect(ledger.database.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT FROM customers FOR NO KEY UPDATE")
        assert ledger.close(grace=1, as_of=DECEMBER + timedelta(seconds=1)).closed == 0, "a sweep goes on"
        close = pool.submit(ledger.close)
        time.sleep(0.2)
        assert not close.done()
        other.commit()
        assert close.result(timeout=10).closed == 1


def test_usage_that_comes_in_while_periods_close_is_billed_once_now_or_late(ledger: Ledger) -> None:
    ledger.plan(CENT)
    some_usage(ledger)
    sent = 0

    async def traffic() -> int:
        sent = 0
        async with Settlement(ledger.database.url) as settlement:
            while not closing.done():
                events = [UsageEvent(uuid4(), user, NOVEMBER, Usage("gpt-4o", 1)) for user in CUSTOMERS]
                await settlement.settle(events, now=DECEMBER)
                sent += len(events)
        return sent

    with ThreadPoolExecutor(2) as pool:
        closing = pool.submit(lambda: [ledger.close(chunk=1) for _ in range(5)])
        sent = pool.submit(asyncio.run, traffic()).result()
        assert sum(summary.closed for summary in closing.result()) == len(CUSTOMERS)
    ledger.close(as_of=JANUARY)
    [billed] = ledger.rows("SELECT sum(total_amount) AS cents FROM invoices")
    assert billed["cents"] == sent + sum(range(1, len(CUSTOMERS) + 1))
    assert ledger.rows("SELECT FROM usage_periods WHERE totals <> billed_totals") == []


def test_a_close_killed_in_the_middle_is_finished_by_the_next(ledger: Ledger) -> None:
    ledger.plan(CENT)
    some_usage(ledger)
    process = subprocess.Popen(
        [sys.executable, "-c", _CLOSE, ledger.database.url, DECEMBER.isoformat()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    wait_until(lambda: bool(ledger.rows("SELECT FROM invoices")))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = len(ledger.rows("SELECT FROM invoices"))
    assert done < len(CUSTOMERS), "killed too late to mean anything"

    assert ledger.close().closed == len(CUSTOMERS) - done
    one_invoice_each(ledger)


@pytest.fixture
def home() -> Iterator[Path]:
    """Where a server keeps its data; as root it runs as another account, which has to get in."""
    with TemporaryDirectory(prefix="tollkeeper-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "home"


def test_a_database_that_is_restarted_in_the_middle_has_each_invoice_once_in_the_end(home: Path) -> None:
    with EmbeddedPostgres(keep=home) as server, Database(server.url) as database:
        upgrade(server.url)
        ledger = Ledger(database)
        ledger.plan(CENT)
        some_usage(ledger)
        with ThreadPoolExecutor(1) as pool:
            closing = pool.submit(lambda: [ledger.close(chunk=1) for _ in range(3)])
            wait_until(lambda: bool(ledger.rows("SELECT FROM invoices")))
            with psycopg.connect(server.url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tollkeeper'"
                )
            with pytest.raises(StoreUnavailable):
                closing.result(timeout=60)
        done = len(ledger.rows("SELECT FROM invoices"))
        assert 0 < done < len(CUSTOMERS)
    with EmbeddedPostgres(keep=home) as server, Database(server.url) as database:
        ledger = Ledger(database)
        assert len(ledger.rows("SELECT FROM invoices")) == done
        assert ledger.close().closed == len(CUSTOMERS) - done
        one_invoice_each(ledger)


def test_a_close_that_cannot_commit_leaves_nothing_behind_and_parks_nobody(ledger: Ledger) -> None:
    ledger.plan(CENT)
    some_usage(ledger)
    # Whatever fails after the invoice was written, and for everybody: here the row that Stripe is owed.
    ledger.run("ALTER TABLE stripe_reports ADD CONSTRAINT never CHECK (value < 0) NOT VALID")
    try:
        with pytest.raises(IntegrityError):
            ledger.close()
    finally:
        ledger.run("ALTER TABLE stripe_reports DROP CONSTRAINT never")
    assert ledger.rows("SELECT DISTINCT status FROM usage_periods") == [{"status": "open"}]
    assert ledger.rows("SELECT FROM invoices") == []
    assert ledger.close().closed == len(CUSTOMERS)


def test_a_schema_that_is_not_up_to_date_parks_nobody(ledger: Ledger) -> None:
    ledger.plan(CENT)
    some_usage(ledger)
    ledger.run("ALTER TABLE stripe_reports RENAME TO elsewhere")
    try:
        with pytest.raises(ProgrammingError):
            ledger.close()
    finally:
        ledger.run("ALTER TABLE elsewhere RENAME TO stripe_reports")
    assert ledger.rows("SELECT DISTINCT status FROM usage_periods") == [{"status": "open"}]


def test_what_fails_for_one_customer_alone_is_parked_and_taken_up_again_when_asked(ledger: Ledger) -> None:
    ledger.plan(CENT)
    some_usage(ledger)
    ledger.run("ALTER TABLE stripe_reports ADD CONSTRAINT never CHECK (user_id <> 'user-07') NOT VALID")
    try:
        summary = ledger.close(chunk=5)
    finally:
        ledger.run("ALTER TABLE stripe_reports DROP CONSTRAINT never")
    assert (summary.closed, summary.parked) == (len(CUSTOMERS) - 1, 1)
    assert ledger.period("user-07")["parked_reason"] == "the close failed: IntegrityError"
    assert ledger.close(retry_parked=True).closed == 1
    one_invoice_each(ledger)
