"""Which facts become notices: once each, with the fact itself, and without anything that is not for other eyes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integration.closing.ledger import CENT, DECEMBER, NOVEMBER, Ledger
from integration.mail.conftest import Inbox
from integration.notices.conftest import NOON, Desk, Receiver
from tollkeeper.domain.notice import KINDS
from tollkeeper.mail.message import Mail
from tollkeeper.mail.smtp import SmtpSender
from tollkeeper.notify.post import Poster
from tollkeeper.notify.slack import SlackSender
from tollkeeper.notify.webhook import WebhookSender
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.services.hooking import add_hook, post_to_room
from tollkeeper.services.mailing import MailChannel
from tollkeeper.services.posting import SlackChannel, WebhookChannel
from tollkeeper.services.receiving import receive_stripe
from tollkeeper.services.reporting import report_owed
from tollkeeper.storage.notices import Audience
from tollkeeper.testing import FrozenClock, StripeStandIn, sign_stripe

SECRET = "whsec_of_the_tests"
LATER = DECEMBER + timedelta(hours=2)


def told(ledger: Ledger, kind: str) -> list[dict[str, Any]]:
    rows = ledger.rows("SELECT user_id, payload FROM notices WHERE kind = :kind ORDER BY subject", kind=kind)
    return [{"user_id": row["user_id"], **row["payload"]} for row in rows]


@pytest.fixture
def billed(ledger: Ledger) -> Ledger:
    """A customer with a draft over 100 cents."""
    ledger.plan(CENT)
    ledger.customer(stripe="cus_ada")
    ledger.use(tokens_in=100)
    ledger.close()
    return ledger


@pytest.fixture
def standin() -> StripeStandIn:
    standin = StripeStandIn(FrozenClock(LATER))
    standin.add_customer("cus_ada")
    return standin


def receive(ledger: Ledger, event: dict[str, Any]) -> str:
    body = json.dumps(event).encode()
    return receive_stripe(ledger.database, body, sign_stripe(body, SECRET, LATER), SECRET, now=LATER).state


def stripes_invoice(standin: StripeStandIn, **more: Any) -> dict[str, Any]:
    return (
        standin.invoice(customer="cus_ada", period_start=NOVEMBER, period_end=DECEMBER, amount=100, status="open")
        | more
    )


def test_a_failed_payment_is_told_once_for_each_attempt_with_the_way_to_pay(
    billed: Ledger, standin: StripeStandIn
) -> None:
    url = "https://invoice.stripe.com/i/acct_1/test_1"
    again_at = int((LATER + timedelta(days=3)).timestamp())
    for attempt, later in ((1, again_at), (1, again_at), (2, None)):
        about = stripes_invoice(
            standin, attempt_count=attempt, next_payment_attempt=later, hosted_invoice_url=url, id="in_1"
        )
        assert receive(billed, standin.event("invoice.payment_failed", about)) == "applied"
    first, second = told(billed, "payment.failed")
    assert (first["user_id"], first["attempt"], first["total_amount"], first["currency"]) == ("ada", 1, 100, "usd")
    assert (first["next_attempt_at"], first["payment_url"]) == ((LATER + timedelta(days=3)).isoformat(), url)
    assert (second["attempt"], second["next_attempt_at"]) == (2, None)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://invoice.stripe.com/", "https://a b/", "https://", "data:,x", 7, None]
)
def test_a_link_that_does_not_lead_to_the_web_is_left_out(billed: Ledger, standin: StripeStandIn, url: object) -> None:
    about = stripes_invoice(standin, attempt_count=1, hosted_invoice_url=url)
    receive(billed, standin.event("invoice.payment_failed", about))
    [notice] = told(billed, "payment.failed")
    assert notice["payment_url"] is None


def test_money_that_does_not_agree_and_a_report_that_is_rejected_are_alarms_to_the_operator(
    billed: Ledger, standin: StripeStandIn
) -> None:
    about = stripes_invoice(standin, total=777, total_excluding_tax=777, amount_due=777)
    receive(billed, standin.event("invoice.finalized", about))
    with standin.serve() as server:  # it knows no meter
        report_owed(billed.database, StripePayments(standin.api_key, api_base=server.url), now=LATER)
    texts = sorted(alarm["text"] for alarm in told(billed, "alarm.raised"))
    assert len(texts) == 2
    assert "Stripe rejects the report of gpt-4o input" in texts[0]
    assert "is over 777 usd, ours over 100 usd" in texts[1]


def test_an_alarm_about_a_customer_is_told_to_the_operator_and_not_to_the_customer(
    desk: Desk, ledger: Ledger, start_receiver: Callable[..., Receiver]
) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=100)
    ledger.run("UPDATE usage_periods SET events = 7")
    customers, ours = start_receiver(), start_receiver()
    post_to_room(ledger.database, "ada", "https://hooks.slack.com/services/T1/B1/x", desk.clock)
    add_hook(ledger.database, customers.url, desk.clock, user_id="ada", allow_loopback=True)
    add_hook(ledger.database, ours.url, desk.clock, allow_loopback=True)
    later = DECEMBER + timedelta(minutes=6)
    ledger.close(now=later, grace=300, as_of=later)
    [alarm] = told(ledger, "alarm.raised")
    assert alarm["text"].startswith("period 2026-11-01 is parked: ")

    desk.clock.set(later)
    desk.audience = Audience(KINDS, KINDS)
    assert desk.send(WebhookChannel(WebhookSender(Poster(allow_loopback=True)))).sent == 1
    assert [call.json["data"]["text"] for call in ours.calls] == [alarm["text"]]
    assert customers.calls == []
    assert [(channel, target) for channel, target, *_ in desk.deliveries() if channel != "webhook"] == [
        ("slack", "operator")
    ]


def test_a_mail_taken_by_a_server_before_its_worker_died_comes_again_as_the_same_mail(
    desk: Desk, quota: Ledger, start_inbox: Callable[..., Inbox]
) -> None:
    inbox = start_inbox()
    sender = SmtpSender(f"smtp://127.0.0.1:{inbox.port}", "billing@example.com", clock=desk.clock)

    class DiesAfterSending:
        def send(self, mail: Mail) -> None:
            sender.send(mail)
            raise SystemExit

    quota.use(tokens_in=600_000, at=NOON)
    with pytest.raises(SystemExit):
        desk.send(MailChannel(DiesAfterSending()))
    desk.clock.advance(timedelta(minutes=5))
    assert desk.send(MailChannel(sender)).sent == 1
    first, second = inbox.messages
    assert first["Message-ID"] == second["Message-ID"]


def test_no_log_and_no_row_about_what_went_wrong_holds_a_secret_or_an_address(
    desk: Desk, quota: Ledger, start_receiver: Callable[..., Receiver], start_inbox: Callable[..., Inbox],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    room = "https://hooks.slack.com/services/T1/B1/canary-of-slack"
    bad, inbox = start_receiver(), start_inbox()
    bad.always = (500, "canary-of-the-answer", {})
    inbox.answers["RCPT"] = "550 5.1.1 ada@example.com unknown"
    desk.audience = Audience(KINDS, ())
    post_to_room(quota.database, "ada", room, desk.clock)
    hook = add_hook(quota.database, f"{bad.url}/canary-of-the-hook", desk.clock, allow_loopback=True)
    quota.use(tokens_in=600_000, at=NOON)
    poster = Poster(allow_loopback=True, timeout_seconds=5)
    nobody = Poster(allow_loopback=True, timeout_seconds=1)
    for channel in (
        SlackChannel(SlackSender(poster, api_base=bad.url), None),
        SlackChannel(SlackSender(nobody, api_base="http://127.0.0.1:9"), None),
        WebhookChannel(WebhookSender(poster)),
        MailChannel(SmtpSender(f"smtp://127.0.0.1:{inbox.port}", "billing@example.com", clock=desk.clock)),
    ):
        desk.send(channel)
        desk.clock.advance(timedelta(minutes=2))
    stored = quota.rows("SELECT last_error FROM notice_deliveries") + quota.rows("SELECT detail FROM notice_attempts")
    stored += quota.rows("SELECT * FROM audit_trail")
    logged = [record.getMessage() for record in caplog.records if record.name != "mail.log"]  # the test's own server
    seen = json.dumps([*logged, *stored], default=str)
    assert "HTTP 500" in seen
    for secret in ("canary", hook.secret, hook.secret.removeprefix("whsec_"), "ada@example.com"):
        assert secret not in seen
