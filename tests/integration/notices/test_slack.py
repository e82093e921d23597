"""Notices in Slack: the operator's room and customers' own, and nothing but Slack is ever called."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from integration.closing.ledger import Ledger
from integration.notices.conftest import NOON, Desk, Receiver
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.notice import KINDS
from tollkeeper.notify.post import Poster
from tollkeeper.notify.slack import SlackSender
from tollkeeper.services.hooking import has_room, post_to_room
from tollkeeper.services.notifying import Delivering
from tollkeeper.services.posting import SlackChannel
from tollkeeper.storage.notices import Audience

OPERATOR = "https://hooks.slack.com/services/T0/B0/operator-secret"
ADA = "https://hooks.slack.com/services/T1/B1/ada-secret"


@pytest.fixture
def slack(start_receiver: Callable[..., Receiver]) -> Receiver:
    return start_receiver(is_slack=True)


@pytest.fixture
def rooms(slack: Receiver, desk: Desk) -> SlackChannel:
    desk.audience = Audience(KINDS, KINDS)
    poster = Poster(allow_loopback=True, timeout_seconds=5)
    return SlackChannel(SlackSender(poster, api_base=slack.url), OPERATOR)


def test_a_notice_is_posted_to_the_operator_and_to_the_customers_own_room(
    desk: Desk, quota: Ledger, rooms: SlackChannel, slack: Receiver
) -> None:
    post_to_room(quota.database, "ada", ADA, desk.clock)
    quota.use(tokens_in=600_000, at=NOON)
    assert desk.send(rooms) == Delivering(sent=2)
    assert sorted(call.path for call in slack.calls) == [
        "/services/T0/B0/operator-secret",
        "/services/T1/B1/ada-secret",
    ]
    assert {call.json["text"] for call in slack.calls} == {
        "ada has used 50 % of the quota: 600,000 of 1,000,000 tokens in the period from 2026-11-01"
    }
    assert desk.send(rooms) == Delivering()


def test_a_name_cannot_become_a_link_or_call_the_whole_room(
    desk: Desk, quota: Ledger, rooms: SlackChannel, slack: Receiver
) -> None:
    name = "<!channel> & <https://evil.example|ada>"
    quota.customer(name, plan="tiered")
    quota.use(name, tokens_in=600_000, at=NOON)
    assert desk.send(rooms).sent == 1
    [call] = slack.calls
    assert call.json["text"].startswith("&lt;!channel&gt; &amp; &lt;https://evil.example|ada&gt; has used 50 %")


@pytest.mark.parametrize("kinds", [(), ("payment.failed",)])
def test_the_operator_hears_only_of_the_kinds_that_are_set(
    desk: Desk, quota: Ledger, rooms: SlackChannel, slack: Receiver, kinds: tuple[str, ...]
) -> None:
    desk.audience = Audience(KINDS, kinds)
    quota.use(tokens_in=600_000, at=NOON)
    assert desk.send(rooms) == Delivering()
    assert slack.calls == []


@pytest.mark.parametrize(
    ("status", "answer"),
    [(404, "no_service"), (403, "action_prohibited"), (410, "channel_is_archived"), (400, "invalid_payload")],
)
def test_a_room_that_slack_does_not_have_is_parked_and_a_person_can_say_retry(
    desk: Desk, quota: Ledger, rooms: SlackChannel, slack: Receiver, status: int, answer: str
) -> None:
    from tollkeeper.services.notifying import retry

    slack.answers = [(status, answer, {})]
    quota.use(tokens_in=600_000, at=NOON)
    assert desk.send(rooms) == Delivering(parked=1)
    assert quota.rows("SELECT last_error FROM notice_deliveries WHERE state = 'parked'") == [
        {"last_error": f"Slack: HTTP {status}"}
    ]
    assert retry(quota.database, desk.clock) == 1
    assert desk.send(rooms) == Delivering(sent=1)


def test_slack_is_given_the_time_that_it_asks_for(
    desk: Desk, quota: Ledger, rooms: SlackChannel, slack: Receiver
) -> None:
    slack.answers = [(429, "rate_limited", {"Retry-After": "90"})]
    quota.use(tokens_in=600_000, at=NOON)
    assert desk.send(rooms) == Delivering(put_off=1)
    desk.clock.advance(timedelta(seconds=89))
    assert desk.send(rooms) == Delivering()
    desk.clock.advance(timedelta(seconds=1))
    assert desk.send(rooms) == Delivering(sent=1)


def test_slack_away_holds_up_neither_the_close_nor_another_channel(
    desk: Desk, quota: Ledger, start_receiver: Callable[..., Receiver]
) -> None:
    from tollkeeper.notify.webhook import WebhookSender
    from tollkeeper.services.hooking import add_hook
    from tollkeeper.services.posting import WebhookChannel

    desk.audience = Audience(KINDS, KINDS)
    poster = Poster(allow_loopback=True, timeout_seconds=1)
    nobody = SlackChannel(SlackSender(poster, api_base="http://127.0.0.1:9"), OPERATOR)
    endpoint = start_receiver()
    add_hook(quota.database, endpoint.url, desk.clock, allow_loopback=True)
    quota.use(tokens_in=1_000_000, at=NOON)
    assert desk.send(nobody) == Delivering(put_off=3)
    assert desk.send(WebhookChannel(WebhookSender(poster))) == Delivering(sent=3)
    assert quota.close().invoices == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.slack.com/services/T/B/x",
        "https://hooks.slack.com.evil.example/services/T/B/x",
        "https://evil.example/services/T/B/x",
        "https://hooks.slack.com@evil.example/services/T/B/x",
        "https://user:password@hooks.slack.com/services/T/B/x",
        "https://hooks.slack.com:8443/services/T/B/x",
        "https://hooks.slack.com/api/chat.postMessage",
        "https://127.0.0.1/services/T/B/x",
        "https://hooks.slack.com/services/T/B/x#y",
        "https://hooks.slack.com/services/T/B/x\r\nX-Header: 1",
        "https://hooks.slack.com\\@evil.example/services/T/B/x",
        "",
    ],
)
def test_what_is_no_room_of_slacks_is_refused_and_never_called(desk: Desk, quota: Ledger, url: str) -> None:
    with pytest.raises(InvalidInput):
        post_to_room(quota.database, "ada", url, desk.clock)
    assert not has_room(quota.database, "ada")
    called: list[Any] = []
    poster = Poster(resolve=lambda host, port: called.append(host) or ["192.0.2.1"])  # type: ignore[func-returns-value]
    assert SlackSender(poster).send(url, "text").kind == "refused"
    assert called == []


def test_a_room_is_shown_only_as_being_there(desk: Desk, quota: Ledger) -> None:
    from integration.money.terminal import Terminal
    from tollkeeper.services.auditing import trail

    terminal = Terminal(quota, NOON)
    assert "a room of their own" in terminal("customers", "notify", "ada", "--slack-url", ADA).output
    terminal("customers", "notify", "ada", "--slack-url", "https://evil.example/", exit_code=2)
    terminal("customers", "notify", "ada", "--slack-url", ADA, "--no-slack", exit_code=2)
    [told] = trail(quota.database, kind="customer.changed")
    assert (told.before, told.after) == ({"slack_room": False}, {"slack_room": True})
    assert "a room" not in terminal("customers", "notify", "ada", "--no-slack", "--email", "love@example.com").output
