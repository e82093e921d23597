"""Notices by mail: one each, whatever the mail server does."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from integration.closing.ledger import CENT, DECEMBER, NOVEMBER, Ledger, wait_until
from integration.mail.conftest import Inbox
from integration.notices.conftest import NOON, Desk
from tollkeeper.mail.smtp import SmtpSender
from tollkeeper.services.mailing import MailChannel
from tollkeeper.services.notifying import Delivering
from tollkeeper.services.onboarding import change_customer
from tollkeeper.storage.invoices import load_invoice
from tollkeeper.testing import FrozenClock

_SEND = """
import sys
from datetime import datetime
from tollkeeper.mail.smtp import SmtpSender
from tollkeeper.services.mailing import MailChannel
from tollkeeper.services.notifying import deliver_due, spread
from tollkeeper.storage.database import Database
from tollkeeper.storage.notices import Audience
from tollkeeper.testing import FrozenClock
clock = FrozenClock(datetime.fromisoformat(sys.argv[3]))
with Database(sys.argv[1]) as database:
    spread(database, Audience(["quota.crossed"], []), clock)
    deliver_due(database, MailChannel(SmtpSender(sys.argv[2], "billing@example.com", clock=clock)), clock)
"""


@pytest.fixture
def inbox(start_inbox: Callable[..., Inbox]) -> Inbox:
    return start_inbox()


@pytest.fixture
def mail(inbox: Inbox, clock: FrozenClock) -> MailChannel:
    return MailChannel(SmtpSender(f"smtp://127.0.0.1:{inbox.port}", "billing@example.com", clock=clock))


def text_of(inbox: Inbox) -> str:
    [message] = inbox.messages
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def test_a_threshold_that_was_crossed_is_one_mail(desk: Desk, quota: Ledger, mail: MailChannel, inbox: Inbox) -> None:
    quota.use(tokens_in=600_000, at=NOON)
    assert desk.send(mail) == Delivering(sent=1)
    assert desk.send(mail) == Delivering()
    [message] = inbox.messages
    assert message["To"] == "ada@example.com"
    assert "50 %" in message["Subject"]
    assert "600,000" in text_of(inbox)
    assert "1,000,000" in text_of(inbox)
    assert quota.rows("SELECT sent_at, last_error FROM notice_deliveries") == [{"sent_at": NOON, "last_error": None}]


def test_one_event_that_crosses_two_thresholds_is_two_mails(
    desk: Desk, quota: Ledger, mail: MailChannel, inbox: Inbox
) -> None:
    quota.use(tokens_in=850_000, at=NOON)
    assert desk.send(mail).sent == 2
    subjects = [str(message["Subject"]) for message in inbox.messages]
    assert [sum(f"{threshold} %" in subject for subject in subjects) for threshold in (50, 80, 100)] == [1, 1, 0]


def test_the_spend_cap_is_a_mail_when_it_comes_near_and_another_when_it_is_reached(
    desk: Desk, ledger: Ledger, mail: MailChannel, inbox: Inbox
) -> None:
    ledger.plan(CENT.replace('currency = "usd"', 'currency = "usd"\nspend_cap = "10.00"\nat_cap = "warn"'))
    ledger.customer()
    ledger.use(tokens_in=800, at=NOON)  # 8 of 10 dollars
    assert desk.send(mail).sent == 1
    assert "near your spend cap of $10.00" in str(inbox.messages[0]["Subject"])
    ledger.use(tokens_in=300, at=NOON)
    assert desk.send(mail).sent == 1
    assert "reached your spend cap of $10.00" in str(inbox.messages[1]["Subject"])


def test_an_invoice_is_a_mail_when_its_draft_is_ready_and_another_when_it_is_final(
    desk: Desk, ledger: Ledger, mail: MailChannel, inbox: Inbox
) -> None:
    from tollkeeper.services.noting import note_moves

    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=1234)
    ledger.close(now=DECEMBER + timedelta(minutes=6), grace=300, as_of=DECEMBER + timedelta(minutes=6))
    assert desk.send(mail).sent == 1
    assert str(inbox.messages[0]["Subject"]) == "Your draft invoice of $12.34 is ready"
    assert "1 November 2026 to 30 November 2026" in text_of(inbox)
    assert "$12.34" in text_of(inbox)

    [row] = ledger.invoices()
    for _ in range(2):  # however often it is moved
        with ledger.database.transaction() as connection:
            note_moves(connection, [load_invoice(connection, row["id"])], "finalized", NOON)
    assert desk.send(mail).sent == 1
    assert str(inbox.messages[1]["Subject"]) == "Your invoice of $12.34"


def test_a_close_that_a_person_asks_for_sends_nothing_to_anyone(desk: Desk, ledger: Ledger, mail: MailChannel) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=1234)
    ledger.close()
    assert desk.send(mail) == Delivering()
    assert ledger.rows("SELECT FROM notices") == []


def test_an_invoice_over_nothing_is_no_mail(desk: Desk, ledger: Ledger, mail: MailChannel) -> None:
    ledger.plan(CENT.replace("0.01", "0"))
    ledger.customer()
    ledger.use(tokens_in=1234)
    ledger.close(now=DECEMBER + timedelta(minutes=6), grace=300, as_of=DECEMBER + timedelta(minutes=6))
    assert [row["kind"] for row in ledger.rows("SELECT kind FROM notices")] == ["invoice.draft_ready"]
    assert desk.send(mail) == Delivering()


def test_usage_of_a_period_that_is_over_sends_none(desk: Desk, quota: Ledger, mail: MailChannel) -> None:
    quota.use(tokens_in=850_000, at=NOON, stored=NOVEMBER + timedelta(days=40))
    desk.clock.set(NOVEMBER + timedelta(days=40))
    assert desk.send(mail) == Delivering()


def test_senders_at_once_send_each_notice_once(desk: Desk, quota: Ledger, mail: MailChannel, inbox: Inbox) -> None:
    for n in range(8):
        quota.customer(f"user-{n}", plan="tiered")
        quota.use(f"user-{n}", tokens_in=1_000_000, at=NOON)
    with ThreadPoolExecutor(6) as pool:
        runs = [pool.submit(desk.send, mail) for _ in range(6)]
        assert sum(run.result().sent for run in runs) == 24
    assert len({str(message["Message-ID"]) for message in inbox.messages}) == len(inbox.messages) == 24


def test_a_mail_that_is_put_off_is_tried_again_later_and_later_and_parked_in_the_end(
    desk: Desk, quota: Ledger, mail: MailChannel, inbox: Inbox
) -> None:
    quota.use(tokens_in=600_000, at=NOON)
    inbox.answers["RCPT"] = "450 4.2.1 try later"
    waits = []
    for _ in range(9):
        assert desk.send(mail) == Delivering(put_off=1)
        assert desk.send(mail) == Delivering()
        [row] = quota.rows("SELECT next_attempt_at FROM notice_deliveries")
        waits.append(int((row["next_attempt_at"] - desk.clock.now()).total_seconds()))
        desk.clock.set(row["next_attempt_at"])
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    quota.run("UPDATE notice_deliveries SET attempts = 47")  # two days later
    assert desk.send(mail) == Delivering(parked=1)
    assert desk.deliveries() == [("mail", "customer", "parked", 48)]
    assert len(quota.rows("SELECT FROM notice_attempts WHERE outcome = 'put_off'")) == 10


def test_a_mail_that_is_refused_is_parked_with_the_reason_and_its_address_flagged_until_there_is_another(
    desk: Desk, quota: Ledger, mail: MailChannel, inbox: Inbox
) -> None:
    quota.use(tokens_in=600_000, at=NOON)
    inbox.answers["RCPT"] = "550 5.1.1 no such mailbox"
    assert desk.send(mail) == Delivering(parked=1)
    assert desk.deliveries() == [("mail", "customer", "parked", 1)]
    assert "550 5.1.1" in quota.rows("SELECT last_error FROM notice_deliveries")[0]["last_error"]
    assert quota.rows("SELECT email_refused_at FROM customers") == [{"email_refused_at": NOON}]
    desk.clock.advance(timedelta(days=1))
    assert desk.send(mail) == Delivering()

    change_customer(quota.database, "ada", NOON, status="active")
    assert quota.rows("SELECT email_refused_at FROM customers") == [{"email_refused_at": NOON}]
    change_customer(quota.database, "ada", NOON, email="love@example.com")
    assert quota.rows("SELECT email_refused_at FROM customers") == [{"email_refused_at": None}]


def test_a_customer_without_an_address_is_noted_and_keeps_nobody_else_waiting(
    desk: Desk, quota: Ledger, mail: MailChannel, inbox: Inbox
) -> None:
    quota.use(tokens_in=600_000, at=NOON)
    quota.run("UPDATE customers SET email = NULL")
    quota.customer("bob", plan="tiered")
    quota.use("bob", tokens_in=600_000, at=NOON)
    assert desk.send(mail) == Delivering(sent=1, dropped=1)
    assert len(inbox.messages) == 1


def test_a_mail_server_that_is_away_is_left_alone_after_three_tries(desk: Desk, quota: Ledger) -> None:
    for n in range(5):
        quota.customer(f"user-{n}", plan="tiered")
        quota.use(f"user-{n}", tokens_in=600_000, at=NOON)
    nobody = SmtpSender("smtp://127.0.0.1:9", "billing@example.com", clock=desk.clock, timeout_seconds=1)
    assert desk.send(MailChannel(nobody)) == Delivering(put_off=3)
    assert [attempts for *_, attempts in desk.deliveries()].count(0) == 2


def test_a_template_of_the_operators_own_that_is_broken_loses_no_notice(
    desk: Desk, quota: Ledger, mail: MailChannel, inbox: Inbox, tmp_path: Path
) -> None:
    quota.use(tokens_in=600_000, at=NOON)
    (tmp_path / "quota_alert.txt").write_text("Subject: {{ nothing_of_that_name }}\n")
    sender = SmtpSender(f"smtp://127.0.0.1:{inbox.port}", "billing@example.com", clock=desk.clock)
    assert desk.send(MailChannel(sender, templates_dir=tmp_path)) == Delivering(put_off=1)
    desk.clock.advance(timedelta(minutes=1))
    assert desk.send(mail) == Delivering(sent=1)


def test_a_run_ends_at_its_limit_and_says_that_there_is_more(desk: Desk, quota: Ledger, mail: MailChannel) -> None:
    quota.use(tokens_in=1_000_000, at=NOON)
    assert desk.send(mail, limit=2) == Delivering(sent=2, more=True)
    assert desk.send(mail, limit=2) == Delivering(sent=1)


def test_news_that_waited_a_week_for_a_mail_server_is_no_news(
    desk: Desk, quota: Ledger, mail: MailChannel, inbox: Inbox
) -> None:
    from tollkeeper.services.notifying import spread

    quota.use(tokens_in=600_000, at=NOON)
    spread(quota.database, desk.audience, desk.clock)
    desk.clock.advance(timedelta(days=7, seconds=1))
    assert desk.send(mail) == Delivering()
    assert desk.deliveries() == [("mail", "customer", "dropped", 0)]
    assert inbox.messages == []


def test_a_notice_whose_sender_was_killed_is_sent_by_the_next_once_its_time_is_up(
    desk: Desk, quota: Ledger, mail: MailChannel, inbox: Inbox
) -> None:
    quota.use(tokens_in=600_000, at=NOON)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and never says a word
        url = f"smtp://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen([sys.executable, "-c", _SEND, quota.database.url, url, NOON.isoformat()])
        wait_until(lambda: desk.deliveries() == [("mail", "customer", "pending", 1)])
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert desk.send(mail) == Delivering(), "it may still be under way"
    desk.clock.advance(timedelta(minutes=5))
    assert desk.send(mail) == Delivering(sent=1)
    assert len(inbox.messages) == 1


def test_what_was_told_more_than_a_year_ago_is_forgotten_and_what_is_still_to_be_told_is_not(
    desk: Desk, quota: Ledger, mail: MailChannel, inbox: Inbox
) -> None:
    from tollkeeper.services.notifying import forget_old

    quota.use(tokens_in=600_000, at=NOON)
    desk.send(mail)
    inbox.answers["RCPT"] = "450 4.2.1 try later"
    quota.use(tokens_in=250_000, at=NOON)
    desk.send(mail)
    forget_old(quota.database, NOON + timedelta(days=400))
    assert len(quota.rows("SELECT FROM notices")) == 2
    forget_old(quota.database, NOON + timedelta(days=400, seconds=1))
    assert [row["threshold"] for row in quota.rows("SELECT payload ->> 'threshold' AS threshold FROM notices")] == [
        "80"
    ]
    assert quota.rows("SELECT outcome FROM notice_attempts") == [{"outcome": "put_off"}]
