"""Quota notices: one mail each, whatever the mail server does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from integration.closing.ledger import NOVEMBER, TIERED, Ledger, wait_until
from integration.mail.conftest import Inbox
from tollkeeper.mail.smtp import SmtpSender
from tollkeeper.services.alerting import AlertingSummary, send_pending_alerts
from tollkeeper.testing import FrozenClock

NOON = NOVEMBER + timedelta(days=14, hours=12)

_SEND = """
import sys
from datetime import datetime
from tollkeeper.clock import SystemClock
from tollkeeper.mail.smtp import SmtpSender
from tollkeeper.services.alerting import send_pending_alerts
from tollkeeper.storage.database import Database
with Database(sys.argv[1]) as database:
    mail = SmtpSender(sys.argv[2], "billing@example.com", clock=SystemClock())
    send_pending_alerts(database, mail, now=datetime.fromisoformat(sys.argv[3]))
"""


@pytest.fixture
def inbox(start_inbox: Callable[..., Inbox]) -> Inbox:
    return start_inbox()


@pytest.fixture
def mail(inbox: Inbox) -> SmtpSender:
    return SmtpSender(f"smtp://127.0.0.1:{inbox.port}", "billing@example.com", clock=FrozenClock(NOON))


@pytest.fixture
def quota(ledger: Ledger) -> Ledger:
    """A customer with a quota of a million tokens."""
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    return ledger


def send(ledger: Ledger, mail: SmtpSender, now: datetime = NOON, **more: Any) -> AlertingSummary:
    return send_pending_alerts(ledger.database, mail, now=now, **more)


def alerts(ledger: Ledger) -> list[tuple[int, str, int]]:
    rows = ledger.rows("SELECT threshold, state, attempts FROM quota_alerts ORDER BY threshold")
    return [(row["threshold"], row["state"], row["attempts"]) for row in rows]


def test_a_threshold_that_was_crossed_is_one_mail(quota: Ledger, mail: SmtpSender, inbox: Inbox) -> None:
    quota.use(tokens_in=600_000, at=NOON)
    assert send(quota, mail) == AlertingSummary(sent=1)
    assert send(quota, mail) == AlertingSummary()
    [message] = inbox.messages
    assert message["To"] == "ada@example.com"
    assert "50 %" in message["Subject"]
    text = message.get_body(("plain",))
    assert text is not None
    assert "600,000" in text.get_content()
    assert "1,000,000" in text.get_content()
    assert quota.rows("SELECT sent_at, last_error, next_attempt_at FROM quota_alerts") == [
        {"sent_at": NOON, "last_error": None, "next_attempt_at": None}
    ]


def test_one_event_that_crosses_two_thresholds_is_two_mails(quota: Ledger, mail: SmtpSender, inbox: Inbox) -> None:
    quota.use(tokens_in=850_000, at=NOON)
    assert send(quota, mail).sent == 2
    subjects = [str(message["Subject"]) for message in inbox.messages]
    assert [sum(f"{threshold} %" in subject for subject in subjects) for threshold in (50, 80, 100)] == [1, 1, 0]
    assert alerts(quota) == [(50, "sent", 1), (80, "sent", 1)]


def test_usage_of_a_period_that_is_over_sends_none(quota: Ledger, mail: SmtpSender) -> None:
    quota.use(tokens_in=850_000, at=NOON, stored=NOVEMBER + timedelta(days=40))
    assert send(quota, mail, now=NOVEMBER + timedelta(days=40)) == AlertingSummary()


def test_senders_at_once_send_each_notice_once(quota: Ledger, mail: SmtpSender, inbox: Inbox) -> None:
    for n in range(8):
        quota.customer(f"user-{n}", plan="tiered")
        quota.use(f"user-{n}", tokens_in=1_000_000, at=NOON)
    with ThreadPoolExecutor(6) as pool:
        runs = [pool.submit(send, quota, mail) for _ in range(6)]
        assert sum(run.result().sent for run in runs) == 24
    assert len({str(message["Message-ID"]) for message in inbox.messages}) == len(inbox.messages) == 24


def test_a_mail_that_is_put_off_is_tried_again_later_and_later(quota: Ledger, mail: SmtpSender, inbox: Inbox) -> None:
    quota.use(tokens_in=600_000, at=NOON)
    inbox.answers["RCPT"] = "450 4.2.1 try later"
    now, waits = NOON, []
    for _ in range(9):
        assert send(quota, mail, now) == AlertingSummary(deferred=1)
        assert send(quota, mail, now) == AlertingSummary()
        [row] = quota.rows("SELECT next_attempt_at FROM quota_alerts")
        waits.append(int((row["next_attempt_at"] - now).total_seconds()))
        now = row["next_attempt_at"]
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    inbox.answers.clear()
    assert send(quota, mail, now) == AlertingSummary(sent=1)
    assert len(inbox.messages) == 1


def test_a_mail_that_is_refused_is_given_up_with_the_reason(quota: Ledger, mail: SmtpSender, inbox: Inbox) -> None:
    quota.use(tokens_in=600_000, at=NOON)
    inbox.answers["RCPT"] = "550 5.1.1 no such mailbox"
    assert send(quota, mail) == AlertingSummary(failed=1)
    assert alerts(quota) == [(50, "failed", 1)]
    assert "550 5.1.1" in quota.rows("SELECT last_error FROM quota_alerts")[0]["last_error"]
    assert send(quota, mail, NOON + timedelta(days=1)) == AlertingSummary()


def test_a_customer_without_an_address_is_noted_and_keeps_nobody_else_waiting(
    quota: Ledger, mail: SmtpSender, inbox: Inbox
) -> None:
    quota.use(tokens_in=600_000, at=NOON)
    quota.run("UPDATE customers SET email = NULL")
    quota.customer("bob", plan="tiered")
    quota.use("bob", tokens_in=600_000, at=NOON)
    assert send(quota, mail) == AlertingSummary(sent=1, no_address=1)
    assert len(inbox.messages) == 1


def test_a_mail_server_that_is_away_is_left_alone_after_three_tries(quota: Ledger) -> None:
    for n in range(5):
        quota.customer(f"user-{n}", plan="tiered")
        quota.use(f"user-{n}", tokens_in=600_000, at=NOON)
    nobody = SmtpSender("smtp://127.0.0.1:9", "billing@example.com", clock=FrozenClock(NOON), timeout_seconds=1)
    assert send(quota, nobody) == AlertingSummary(deferred=3)
    assert [attempts for _, _, attempts in alerts(quota)].count(0) == 2


def test_a_template_of_the_operators_own_that_is_broken_loses_no_notice(
    quota: Ledger, mail: SmtpSender, inbox: Inbox, tmp_path: Path
) -> None:
    quota.use(tokens_in=600_000, at=NOON)
    broken = tmp_path / "quota_alert.txt"
    broken.write_text("Subject: {{ nothing_of_that_name }}\n")
    assert send(quota, mail, templates_dir=tmp_path) == AlertingSummary(deferred=1)
    assert send(quota, mail, NOON + timedelta(minutes=1)) == AlertingSummary(sent=1)


def test_a_run_ends_at_its_limit_and_says_that_there_is_more(quota: Ledger, mail: SmtpSender) -> None:
    quota.use(tokens_in=1_000_000, at=NOON)
    assert send(quota, mail, limit=2) == AlertingSummary(sent=2, more=True)
    assert send(quota, mail, limit=2) == AlertingSummary(sent=1)


def test_a_notice_whose_sender_was_killed_is_sent_by_the_next_once_its_time_is_up(quota: Ledger, inbox: Inbox) -> None:
    import socket

    quota.use(tokens_in=600_000, at=NOON)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and never says a word
        url = f"smtp://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen([sys.executable, "-c", _SEND, quota.database.url, url, NOON.isoformat()])
        wait_until(lambda: alerts(quota) != [(50, "pending", 0)])
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    mail = SmtpSender(f"smtp://127.0.0.1:{inbox.port}", "billing@example.com", clock=FrozenClock(NOON))
    assert send(quota, mail) == AlertingSummary(), "it may still be under way"
    assert send(quota, mail, NOON + timedelta(minutes=5)) == AlertingSummary(sent=1)
    assert len(inbox.messages) == 1
