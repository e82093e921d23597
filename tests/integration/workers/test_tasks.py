"""Each task, called as a worker calls it: it finds what is due and leaves the rest alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from integration.closing.ledger import CENT, TIERED, Ledger
from integration.mail.conftest import Inbox
from tollkeeper.clock import SystemClock
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage
from tollkeeper.services.journaling import Journal
from tollkeeper.settings import Settings, read_settings
from tollkeeper.storage.partitions import month_start
from tollkeeper.testing import StripeStandIn
from tollkeeper_workers import process
from tollkeeper_workers.tasks import TASKS

LAST_MONTH = month_start(month_start(datetime.now(UTC)) - timedelta(days=1))


@pytest.fixture
def settings(ledger: Ledger, tmp_path: Path) -> Iterator[Settings]:
    """Those of a worker an hour ahead, so that a month that has just begun is no special case."""
    clock = tmp_path / "clock"
    clock.write_text("3600")
    settings = read_settings(
        database_url=ledger.database.url, clock_file=clock, journal_dir=tmp_path / "journal", stripe_api_key=None
    )
    process.use(settings)
    yield settings
    process.runtime().close()


def use(settings: Settings, **changes: object) -> None:
    process.runtime().close()
    process.use(settings.model_copy(update=changes))


def test_close_report_and_confirm_take_a_month_to_its_end(ledger: Ledger, settings: Settings) -> None:
    standin = StripeStandIn(settings.clock())
    standin.add_customer("cus_ada")
    standin.add_meter("ai_tokens")
    ledger.plan(CENT)
    ledger.customer(stripe="cus_ada")
    ledger.use(tokens_in=100, at=LAST_MONTH)
    TASKS["tollkeeper.close_due"]()
    TASKS["tollkeeper.report_owed"]()
    assert [invoice["status"] for invoice in ledger.invoices()] == ["draft"], "no key is set, so nobody is told"

    with standin.serve() as server:
        use(settings, stripe_api_key=_secret(standin.api_key), stripe_api_base=server.url)
        TASKS["tollkeeper.report_owed"]()
        assert [invoice["status"] for invoice in ledger.invoices()] == ["finalized"]
        assert settings.clock_file is not None
        settings.clock_file.write_text("7200")
        TASKS["tollkeeper.confirm_reports"]()
    assert ledger.rows("SELECT state FROM stripe_reports") == [{"state": "confirmed"}]


def test_the_close_keeps_to_the_grace_and_to_how_the_settings_collect(ledger: Ledger, settings: Settings) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=100, at=LAST_MONTH)
    since = datetime.now(UTC) + timedelta(hours=1) - month_start(datetime.now(UTC))
    use(settings, close_grace_seconds=int(since.total_seconds()) + 3600, collect="off")
    TASKS["tollkeeper.close_due"]()
    assert ledger.invoices() == []
    use(settings, close_grace_seconds=1, collect="off")
    TASKS["tollkeeper.close_due"]()
    assert [invoice["collect"] for invoice in ledger.invoices()] == ["off"]


def test_notices_wait_for_a_mail_server_and_then_go_out(
    ledger: Ledger, settings: Settings, start_inbox: Callable[..., Inbox]
) -> None:
    now = datetime.now(UTC)
    ledger.plan(TIERED)
    ledger.customer(plan="tiered", since=LAST_MONTH)
    ledger.use(tokens_in=1_000_000, at=now)
    TASKS["tollkeeper.send_notices"]()
    assert ledger.rows("SELECT DISTINCT state FROM notice_deliveries") == [{"state": "pending"}]

    inbox = start_inbox()
    use(settings, smtp_url=_secret(f"smtp://127.0.0.1:{inbox.port}"), mail_from="billing@example.com")
    TASKS["tollkeeper.send_notices"]()
    assert len(inbox.messages) == 3


def test_a_hold_whose_process_is_gone_ends_as_a_row_without_charge(ledger: Ledger, settings: Settings) -> None:
    now = settings.clock().now()
    ledger.plan(CENT)
    ledger.customer()
    for minutes in (1, -1):
        ledger.run(
            "INSERT INTO holds (id, user_id, started_at, expires_at, model_id, tokens_in, method, path) "
            "VALUES (gen_random_uuid(), 'ada', :start, :end, 'gpt-4o', 500, 'POST', '/v1/chat')",
            start=now - timedelta(minutes=20),
            end=now - timedelta(minutes=minutes),
        )
    TASKS["tollkeeper.settle_expired_holds"]()
    TASKS["tollkeeper.settle_expired_holds"]()
    [event] = ledger.rows("SELECT * FROM usage_events")
    assert (event["user_id"], event["model_id"], event["path"]) == ("ada", "gpt-4o", "/v1/chat")
    assert (event["tokens_in"], event["cost_units"], event["complete"], event["billable"]) == (0, 0, False, False)
    assert len(ledger.rows("SELECT FROM holds")) == 1, "the one that still runs is left alone"


def test_a_request_that_settles_after_its_hold_was_ended_is_counted_and_once(
    ledger: Ledger, settings: Settings
) -> None:
    now = settings.clock().now()
    ledger.plan(CENT)
    ledger.customer()
    hold = uuid4()
    ledger.run(
        "INSERT INTO holds (id, user_id, started_at, expires_at, tokens_in) VALUES (:id, 'ada', :start, :end, 5)",
        id=hold,
        start=now - timedelta(minutes=20),
        end=now - timedelta(minutes=1),
    )
    TASKS["tollkeeper.settle_expired_holds"]()
    event = UsageEvent(hold, "ada", now - timedelta(minutes=20), Usage("gpt-4o", 500))
    for _ in range(2):
        ledger.store([event], now)
    assert ledger.rows("SELECT tokens_in, billable FROM usage_events") == [{"tokens_in": 500, "billable": True}]
    assert ledger.rows("SELECT tokens FROM usage_periods") == [{"tokens": 500}]


def test_usage_that_waited_on_disk_is_stored_once(ledger: Ledger, settings: Settings) -> None:
    ledger.plan(CENT)
    ledger.customer()
    event = UsageEvent(uuid4(), "ada", datetime.now(UTC), Usage("gpt-4o", 5))
    journal = Journal(settings.journal_dir)
    journal.append([event, dataclasses.replace(event, id=uuid4())])
    TASKS["tollkeeper.replay_journals"]()
    assert ledger.rows("SELECT FROM usage_events") == [], "its process still writes"
    journal.hand_over()
    for _ in range(2):
        TASKS["tollkeeper.replay_journals"]()
    assert len(ledger.rows("SELECT FROM usage_events")) == 2
    assert list(settings.journal_dir.iterdir()) == []


def test_partitions_stand_ready_months_ahead(ledger: Ledger, settings: Settings) -> None:
    for _ in range(2):
        TASKS["tollkeeper.make_partitions"]()
    month = month_start(SystemClock().now() + timedelta(days=80))
    assert ledger.rows("SELECT to_regclass(:name) IS NOT NULL AS there", name=f"usage_events_{month:%Y_%m}") == [
        {"there": True}
    ]


def test_a_process_that_was_forked_builds_a_runtime_of_its_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = process.runtime()
    assert process.runtime() is parent
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert process.runtime() is not parent
    parent.close()


def _secret(value: str) -> object:
    from pydantic import SecretStr

    return SecretStr(value)
