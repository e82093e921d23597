"""Old months leave the database for a file, when all of them is settled, and nothing that was proven becomes unproven."""

from __future__ import annotations

import asyncio
import csv
import gzip
import hashlib
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from integration.closing.ledger import CENT, DECEMBER, NOVEMBER, Ledger, wait_until
from integration.money.terminal import Terminal
from tollkeeper.domain.errors import UsageArchived
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage
from tollkeeper.services.reconciling import reconcile
from tollkeeper.services.retaining import all_archives, archive_month, archive_next, old_months
from tollkeeper.storage.settlement import Settled, Settlement

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
FEBRUARY = datetime(2027, 2, 10, tzinfo=UTC)


@pytest.fixture
def old(ledger: Ledger) -> Ledger:
    """Two customers with usage in October and November, all of it closed and collected nowhere."""
    ledger.collect = "off"
    ledger.plan(CENT, OCTOBER)
    for user_id in ("ada", "bob"):
        ledger.customer(user_id, since=OCTOBER)
        ledger.use(user_id, tokens_in=100, tokens_out=11, at=OCTOBER + timedelta(days=3), units={"images": 2})
        ledger.use(user_id, tokens_in=200, at=NOVEMBER + timedelta(days=3))
    ledger.close(NOVEMBER)
    ledger.use("ada", tokens_in=7, at=OCTOBER + timedelta(days=5), stored=NOVEMBER + timedelta(days=1))  # late
    ledger.close(DECEMBER)
    return ledger


def months(ledger: Ledger) -> list[str]:
    rows = ledger.rows(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'usage_events_2%' ORDER BY relname"
    )
    return [row["relname"].removeprefix("usage_events_") for row in rows]


def test_a_month_goes_to_a_file_and_every_total_is_still_proven(old: Ledger, tmp_path: Path) -> None:
    stored = old.rows('SELECT id FROM usage_events WHERE "timestamp" < :end', end=NOVEMBER)
    archive = archive_next(old.database, FEBRUARY, 3, tmp_path)
    assert archive is not None
    assert (archive.month, archive.events) == (OCTOBER, 3)
    assert "2026_10" not in months(old)
    assert "2026_11" in months(old)

    file = tmp_path / "usage_events_2026_10.csv.gz"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert archive.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    assert {row["id"] for row in rows} == {str(row["id"]) for row in stored}
    assert {(row["user_id"], row["tokens_in"]) for row in rows} == {("ada", "100"), ("bob", "100"), ("ada", "7")}

    found = reconcile(old.database, now=FEBRUARY)
    assert found.ok, [row.differences for row in found.rows]
    assert [row.tokens_in_events for row in found.rows] == [118, 200, 111, 200]
    assert archive_next(old.database, FEBRUARY, 3, tmp_path) is None
    [told] = all_archives(old.database)
    assert told == archive


def test_a_total_that_was_changed_after_the_archive_is_still_found(old: Ledger, tmp_path: Path) -> None:
    archive_next(old.database, FEBRUARY, 3, tmp_path)
    old.run(
        "UPDATE usage_periods SET totals = jsonb_set(totals, '{gpt-4o,input}', '99') WHERE period_start = :start",
        start=OCTOBER,
    )
    assert not reconcile(old.database, now=FEBRUARY).ok


def test_usage_that_comes_for_an_archived_month_is_refused_clearly_and_other_usage_beside_it_is_not(
    old: Ledger, tmp_path: Path
) -> None:
    archive_next(old.database, FEBRUARY, 3, tmp_path)
    events = [
        UsageEvent(uuid4(), "ada", at, Usage("gpt-4o", 5), 200)
        for at in (OCTOBER + timedelta(days=4), NOVEMBER + timedelta(days=4), datetime(2025, 1, 5, tzinfo=UTC))
    ]
    refused, *taken = old.store(events, FEBRUARY)
    assert isinstance(refused, UsageArchived)
    assert str(refused) == "the usage of 2026-10 is archived, and nothing is added to it"
    assert [answer.status for answer in taken if isinstance(answer, Settled)] == ["accepted", "accepted"]

    terminal = Terminal(old, FEBRUARY)
    path = tmp_path / "late.csv"
    path.write_text(
        "id,user_id,timestamp,model_id,tokens_in,tokens_out\n"
        f"{uuid4()},ada,2026-10-05T10:00:00Z,gpt-4o,5,0\n{uuid4()},ada,2026-11-05T10:00:00Z,gpt-4o,5,0\n"
    )
    result = terminal("usage", "import", str(path), exit_code=1)
    assert "the usage of 2026-10 is archived" in result.stderr
    assert result.stdout.strip().splitlines()[-1] == "accepted 1 duplicate 0 rejected 1"


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        ("UPDATE usage_periods SET status = 'parked' WHERE user_id = 'bob'", "periods that are not closed"),
        (
            "UPDATE usage_periods SET billed_totals = '{}' WHERE user_id = 'bob'",
            "periods with late usage that waits for an invoice",
        ),
        ("UPDATE invoices SET collect = 'invoices' WHERE user_id = 'bob'", "drafts that are to be collected"),
        ("UPDATE usage_events SET unpriced = true WHERE user_id = 'bob'", "events without a price"),
    ],
)
def test_a_month_with_anything_unsettled_stays(old: Ledger, tmp_path: Path, breaks: str, reason: str) -> None:
    old.run(breaks)
    [october] = old_months(old.database, FEBRUARY, 3)
    assert reason in october.reasons
    assert archive_next(old.database, FEBRUARY, 3, tmp_path) is None
    assert archive_month(old.database, OCTOBER, tmp_path, FEBRUARY) is None
    assert "2026_10" in months(old)


def test_a_month_whose_reports_stripe_has_not_taken_stays(ledger: Ledger, tmp_path: Path) -> None:
    ledger.plan(CENT, OCTOBER)
    ledger.customer(stripe="cus_ada", since=OCTOBER)
    ledger.use(tokens_in=100, at=OCTOBER + timedelta(days=3))
    ledger.close(NOVEMBER)
    [october] = old_months(ledger.database, FEBRUARY, 3)
    assert october.reasons == {"reports that Stripe has not acknowledged": 1, "drafts that are to be collected": 1}
    ledger.run("UPDATE stripe_reports SET state = 'confirmed'")
    ledger.run("UPDATE invoices SET status = 'finalized'")
    assert archive_next(ledger.database, FEBRUARY, 3, tmp_path) is not None


def test_a_full_disk_leaves_everything_as_it_was(old: Ledger, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(OSError):
        archive_next(old.database, FEBRUARY, 3, blocked)
    assert "2026_10" in months(old)
    assert all_archives(old.database) == []


def test_requests_go_on_while_a_month_is_waited_for_and_usage_for_it_is_refused_once_it_is_gone(
    old: Ledger, tmp_path: Path
) -> None:
    now = datetime(2027, 2, 10, 12, tzinfo=UTC)
    done: list[object] = []
    with psycopg.connect(old.database.url) as reader:
        reader.execute("SELECT count(*) FROM usage_events")  # holds the table for as long as its transaction lasts
        archiving = threading.Thread(target=lambda: done.append(archive_next(old.database, FEBRUARY, 3, tmp_path)))
        archiving.start()
        wait_until(lambda: (tmp_path / "usage_events_2026_10.csv.gz").exists())

        async def request() -> Settled | Exception:
            async with Settlement(old.database.url, budget_seconds=20) as settlement:
                [answer] = await settlement.settle([UsageEvent(uuid4(), "ada", now, Usage("gpt-4o", 5), 200)], now=now)
                return answer

        for _ in range(5):
            answer = asyncio.run(request())
            assert isinstance(answer, Settled)
        assert done == []
    archiving.join(60)
    assert done != []
    assert "2026_10" not in months(old)


def test_the_command_says_what_goes_and_what_stays(
    old: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(old, FEBRUARY)
    terminal("db", "archive", "--months", "3", exit_code=2)
    monkeypatch.setenv("TOLLKEEPER_ARCHIVE_DIR", str(tmp_path))
    terminal = Terminal(old, FEBRUARY)
    terminal("db", "archive", exit_code=2)
    assert terminal("db", "archive", "--months", "3", "--dry-run").output == "2026-10 would be archived\n"
    assert "2026-10 archived: 3 events in" in terminal("db", "archive", "--months", "3").output
    [archive] = terminal.json("db", "archives")
    assert archive["events"] == 3
    old.run(
        "UPDATE usage_periods SET status = 'parked' WHERE user_id = 'bob' AND period_start = :start", start=NOVEMBER
    )
    assert terminal("db", "archive", "--months", "2").output == "2026-11 stays: 1 periods that are not closed\n"
