"""Webhooks out: signed so that others verify it, tried again, logged, and nobody's slow endpoint is anybody else's trouble."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import openai
import pytest
from freezegun import freeze_time

from integration.closing.ledger import Ledger
from integration.money.terminal import Terminal
from integration.notices.conftest import NOON, Desk, Receiver
from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.domain.notice import KINDS
from tollkeeper.notify.post import Poster
from tollkeeper.notify.webhook import WebhookSender
from tollkeeper.services.hooking import MOST_ENDPOINTS, add_hook, all_hooks, hook_log, remove_hook
from tollkeeper.services.notifying import Delivering
from tollkeeper.services.posting import WebhookChannel
from tollkeeper.storage.webhook_endpoints import Endpoint


@pytest.fixture
def endpoint(start_receiver: Callable[..., Receiver]) -> Receiver:
    return start_receiver()


@pytest.fixture
def hooks() -> WebhookChannel:
    return WebhookChannel(WebhookSender(Poster(allow_loopback=True, timeout_seconds=5)))


def add(desk: Desk, receiver: Receiver, **more: object) -> Endpoint:
    return add_hook(desk.ledger.database, f"{receiver.url}/in?x=1", desk.clock, allow_loopback=True, **more)  # type: ignore[arg-type]


def test_a_notice_reaches_the_endpoint_signed_so_that_another_implementation_verifies_it(
    desk: Desk, quota: Ledger, hooks: WebhookChannel, endpoint: Receiver
) -> None:
    made = add(desk, endpoint, user_id="ada")
    quota.use(tokens_in=600_000, at=NOON)
    assert desk.send(hooks) == Delivering(sent=1)

    [call] = endpoint.calls
    assert call.path == "/in?x=1"
    assert call.json["type"] == "quota.crossed"
    assert call.json["timestamp"] == "2026-11-15T12:00:00Z"
    data = call.json["data"]
    assert (data["user_id"], data["threshold"], data["used_tokens"], data["quota_tokens"]) == (
        "ada", 50, 600_000, 1_000_000
    )  # fmt: skip
    # OpenAI's library verifies webhooks of the same standard.
    verifier = openai.OpenAI(api_key="unused").webhooks
    with freeze_time(NOON):
        verifier.verify_signature(call.body, call.headers, secret=made.secret)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            verifier.verify_signature(call.body + b" ", call.headers, secret=made.secret)


def test_the_page_about_notices_verifies_a_call_as_it_says_and_names_every_kind(
    desk: Desk, quota: Ledger, hooks: WebhookChannel, endpoint: Receiver
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "notices.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    told: dict[str, Any] = {}
    exec(code, told)
    made = add(desk, endpoint)
    quota.use(tokens_in=600_000, at=NOON)
    desk.send(hooks)
    [call] = endpoint.calls
    with freeze_time(NOON + timedelta(minutes=5)):
        assert told["verified"](made.secret, call.headers, call.body)
        assert not told["verified"](made.secret, call.headers, call.body + b" ")
        assert not told["verified"](made.secret, {**call.headers, "webhook-id": "msg_2"}, call.body)
    with freeze_time(NOON + timedelta(minutes=6)):
        assert not told["verified"](made.secret, call.headers, call.body)
    assert re.findall(r"^\| `(\w+\.\w+)` \|", page, re.MULTILINE) == list(KINDS)


def test_every_attempt_has_the_same_id_and_body_and_a_signature_of_its_own_time(
    desk: Desk, quota: Ledger, hooks: WebhookChannel, endpoint: Receiver
) -> None:
    made = add(desk, endpoint)
    endpoint.answers = [(500, "", {}), (302, "", {"Location": "http://127.0.0.1:9/"}), (204, "", {})]
    quota.use(tokens_in=600_000, at=NOON)
    for wait in (30, 60):
        assert desk.send(hooks) == Delivering(put_off=1)
        desk.clock.advance(timedelta(seconds=wait))
    assert desk.send(hooks) == Delivering(sent=1)

    assert len({(call.headers["webhook-id"], call.body) for call in endpoint.calls}) == 1
    assert re.fullmatch("msg_[0-9a-f]{32}", endpoint.calls[0].headers["webhook-id"])
    assert len({call.headers["webhook-signature"] for call in endpoint.calls}) == 3
    log = hook_log(quota.database, made.id)
    assert [(one.attempt, one.outcome, one.status, one.detail) for one in log] == [
        (1, "put_off", 500, "HTTP 500"),
        (2, "put_off", 302, "HTTP 302"),
        (3, "sent", 204, "HTTP 204"),
    ]


def test_a_customers_endpoint_hears_of_that_customer_and_of_the_kinds_it_asked_for(
    desk: Desk, quota: Ledger, hooks: WebhookChannel, start_receiver: Callable[..., Receiver]
) -> None:
    adas, bobs, ours, caps = [start_receiver() for _ in range(4)]
    quota.customer("bob", plan="tiered")
    add(desk, adas, user_id="ada")
    add(desk, bobs, user_id="bob")
    add(desk, ours)
    add(desk, caps, kinds=["spend_cap.near"])
    quota.use("ada", tokens_in=600_000, at=NOON)
    quota.use("bob", tokens_in=900_000, at=NOON)
    assert desk.send(hooks).sent == 6
    heard = [sorted(call.json["data"]["user_id"] for call in one.calls) for one in (adas, bobs, ours, caps)]
    assert heard == [["ada"], ["bob", "bob"], ["ada", "bob", "bob"], []]


def test_an_endpoint_that_fails_rests_with_all_that_waits_for_it_and_others_go_on(
    desk: Desk, quota: Ledger, hooks: WebhookChannel, start_receiver: Callable[..., Receiver]
) -> None:
    bad, good = start_receiver(), start_receiver()
    bad.always = (503, "", {"Retry-After": "120"})
    add(desk, bad)
    quota.use(tokens_in=1_000_000, at=NOON)  # three notices
    assert desk.send(hooks) == Delivering(put_off=1)
    add(desk, good)
    quota.customer("bob", plan="tiered")
    quota.use("bob", tokens_in=1_000_000, at=NOON)  # three more, for both
    assert desk.send(hooks) == Delivering(sent=3, put_off=1)
    assert (len(bad.calls), len(good.calls)) == (2, 3)
    desk.clock.advance(timedelta(seconds=119))
    assert desk.send(hooks) == Delivering()
    bad.always = (200, "", {})
    desk.clock.advance(timedelta(seconds=1))
    assert desk.send(hooks) == Delivering(sent=6)


def test_an_endpoint_that_says_gone_is_called_no_more(
    desk: Desk, quota: Ledger, hooks: WebhookChannel, endpoint: Receiver
) -> None:
    made = add(desk, endpoint)
    endpoint.always = (410, "", {})
    quota.use(tokens_in=1_000_000, at=NOON)
    assert desk.send(hooks) == Delivering(parked=1)
    assert desk.send(hooks) == Delivering()
    assert len(endpoint.calls) == 1
    [hook] = all_hooks(quota.database)
    assert (hook.id, hook.disabled_at, hook.disabled_reason) == (made.id, NOON, "it answered HTTP 410")


def test_what_waits_for_an_endpoint_that_is_removed_is_dropped(
    desk: Desk, quota: Ledger, hooks: WebhookChannel, endpoint: Receiver
) -> None:
    made = add(desk, endpoint)
    endpoint.answers = [(500, "", {})]
    quota.use(tokens_in=600_000, at=NOON)
    desk.send(hooks)
    assert remove_hook(quota.database, made.id, desk.clock)
    assert not remove_hook(quota.database, made.id, desk.clock)
    desk.clock.advance(timedelta(hours=1))
    assert desk.send(hooks) == Delivering()
    assert desk.deliveries()[-1][2] == "dropped"
    with pytest.raises(NotFound):
        remove_hook(quota.database, UUID(int=1), desk.clock)


def test_a_customer_has_a_bounded_number_of_endpoints_of_known_kinds(desk: Desk, quota: Ledger) -> None:
    url = "https://example.com/hooks"
    with pytest.raises(InvalidInput, match="kinds"):
        add_hook(quota.database, url, desk.clock, kinds=["everything"])
    with pytest.raises(NotFound):
        add_hook(quota.database, url, desk.clock, user_id="eve")
    for _ in range(MOST_ENDPOINTS):
        add_hook(quota.database, url, desk.clock, user_id="ada")
    with pytest.raises(InvalidInput, match="at most 16"):
        add_hook(quota.database, url, desk.clock, user_id="ada")
    add_hook(quota.database, url, desk.clock)


def test_the_command_line_shows_a_secret_once_and_tries_an_endpoint(
    desk: Desk, quota: Ledger, endpoint: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLLKEEPER_HOOKS_ALLOW_LOOPBACK", "1")
    terminal = Terminal(quota, NOON)
    secret = terminal("hooks", "add", endpoint.url, "--user", "ada", "--kind", "quota.crossed").stdout.strip()
    assert secret.startswith("whsec_")
    [hook] = terminal.json("hooks", "list")
    assert (hook["user_id"], hook["kinds"], hook["url"]) == ("ada", ["quota.crossed"], endpoint.url)
    assert "taken, HTTP 200" in terminal("hooks", "test", hook["id"]).output
    assert endpoint.calls[0].json["type"] == "hook.test"
    endpoint.answers = [(500, "", {})]
    assert "not taken: HTTP 500" in terminal("hooks", "test", hook["id"], exit_code=1).stderr
    everything = json.dumps(terminal.json("hooks", "list")) + terminal("audit", "show").output
    assert secret not in everything
    terminal("hooks", "remove", hook["id"])
    assert terminal.json("hooks", "log", hook["id"]) == []


def test_the_command_line_lists_deliveries_and_tries_parked_ones_again(
    desk: Desk, quota: Ledger, hooks: WebhookChannel, endpoint: Receiver
) -> None:
    add(desk, endpoint)
    endpoint.answers = [(500, "", {})] * 2
    quota.use(tokens_in=600_000, at=NOON)
    assert desk.send(hooks).put_off == 1
    quota.run("UPDATE notice_deliveries SET attempts = 47")  # two days later
    desk.clock.advance(timedelta(hours=1))
    assert desk.send(hooks).parked == 1
    terminal = Terminal(quota, NOON)
    [parked] = terminal.json("notices", "list", "--state", "parked")
    assert (parked["kind"], parked["user_id"], parked["attempts"], parked["last_error"]) == (
        "quota.crossed", "ada", 48, "HTTP 500"
    )  # fmt: skip
    assert "quota.crossed" in terminal("notices", "list", "--user", "ada").output
    assert "1 delivery will" in terminal("notices", "retry").output
    terminal("notices", "retry", str(UUID(int=1)), exit_code=2)
    desk.clock.advance(timedelta(seconds=1))
    assert desk.send(hooks) == Delivering(sent=1)
