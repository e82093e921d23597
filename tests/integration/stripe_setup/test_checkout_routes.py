"""Subscribing over HTTP, with the webhook in between as Stripe sends it; and `tollkeeper checkout`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from integration.stripe_setup.shop import SECRET, Shop
from integration.web.described import as_described
from tollkeeper import billing_routes
from tollkeeper.cli import main
from tollkeeper.domain.keys import looks_like_key
from tollkeeper.runtime import Runtime
from tollkeeper.services.onboarding import issue_key
from tollkeeper.settings import Settings, read_settings
from tollkeeper.testing import sign_stripe


@pytest.fixture
def settings(shop: Shop) -> Settings:
    return read_settings(
        database_url=shop.ledger.database.url,
        stripe_api_key=shop.standin.api_key,
        stripe_api_base=shop.url,
        stripe_webhook_secret=f"whsec_other,{SECRET}",
        public_url="https://api.example.com/billing",
    )


@pytest.fixture
def client(shop: Shop, settings: Settings) -> Iterator[TestClient]:
    """Ada's browser; the host app says who she is."""
    routes = billing_routes(settings=settings, clock=shop.clock, identify=lambda scope: "ada")
    app = Starlette(routes=[Mount("/billing", routes)])
    with TestClient(app, base_url="https://testserver/billing/", follow_redirects=False) as client:
        yield client


def post(client: TestClient, shop: Shop, event: dict[str, Any]) -> int:
    body = json.dumps(event).encode()
    headers = {"Stripe-Signature": sign_stripe(body, SECRET, shop.clock.now())}
    return int(client.post("webhooks/stripe", content=body, headers=headers).status_code)


def pay(client: TestClient, shop: Shop) -> dict[str, Any]:
    """A checkout, begun, paid and told of over HTTP; what its beginning was answered with."""
    answer = client.post("api/checkout", json={"plan": "pro"})
    assert answer.status_code == 201
    started: dict[str, Any] = answer.json()
    shop.standin.complete_checkout(started["session_id"])
    assert {post(client, shop, event) for event in shop.standin.events()} == {200}
    return started


def test_a_program_subscribes_and_is_handed_its_key_once(client: TestClient, shop: Shop) -> None:
    started = client.post("api/checkout", json={"plan": "pro"}).json()
    claim = {"session_id": started["session_id"], "claim": started["claim"]}
    early = client.post("api/checkout/claim", json=claim)
    assert (early.status_code, early.headers["retry-after"]) == (409, "2")
    assert early.json()["code"] == "not_paid_yet"

    shop.standin.complete_checkout(started["session_id"])
    for event in shop.standin.events():
        assert post(client, shop, event) == 200
    client.cookies.clear()
    assert client.post("api/checkout/claim", json={**claim, "claim": "x" * 64}).status_code == 403
    handed = client.post("api/checkout/claim", json=claim).json()
    assert looks_like_key(handed["api_key"])
    assert client.post("api/checkout/claim", json=claim).status_code == 410
    assert shop.customer()["plan_id"] == "pro"


def test_openapi_says_what_subscribing_is_answered_with(client: TestClient, shop: Shop) -> None:
    begun = client.post("api/checkout", json={"plan": "pro"})
    started = as_described(client, begun, "/api/checkout", "post")
    claim = {"session_id": started["session_id"], "claim": started["claim"]}

    def claimed(**more: str) -> Any:
        return as_described(
            client, client.post("api/checkout/claim", json={**claim, **more}), "/api/checkout/claim", "post"
        )

    assert claimed()["code"] == "not_paid_yet"
    assert claimed(claim="x" * 64)["code"] == "claim_refused"
    shop.standin.complete_checkout(started["session_id"])
    assert {post(client, shop, event) for event in shop.standin.events()} == {200}
    assert claimed()["plan"] == "pro"
    assert claimed()["code"] == "key_handed_over"
    for plan, code in (("pro", "already_subscribed"), ("nowhere", "not_found"), ("", "invalid_input")):
        refused = client.post("api/checkout", json={"plan": plan})
        assert as_described(client, refused, "/api/checkout", "post")["code"] == code
    as_described(client, client.post("api/portal"), "/api/portal", "post")


def test_the_customers_page_offers_what_stripe_takes_and_leads_there(client: TestClient, shop: Shop) -> None:
    page = client.get("").text
    assert "Subscribe to Pro" in page
    token = re.search(r'name="form_token" value="([^"]+)"', page)
    assert token is not None
    left = client.post("checkout", data={"plan": "pro", "form_token": token[1]})
    assert left.status_code == 200
    [url] = re.findall(r'http-equiv="refresh" content="0; url=([^"]+)"', left.text)
    assert left.text.count(url) == 2  # for browsers that do not follow it, as a link
    assert "tollkeeper_claim=" in left.headers["set-cookie"]
    assert client.post("checkout", data={"plan": "pro"}).status_code == 403
    pay(client, shop)
    subscribed = client.get("").text
    assert "Subscribe to" not in subscribed
    assert 'href="/billing/portal"' in subscribed


def test_a_browser_sees_its_key_behind_a_button_and_only_there(client: TestClient, shop: Shop) -> None:
    started = pay(client, shop)
    page = client.get(f"checkout/done?session_id={started['session_id']}")
    assert page.status_code == 200
    assert started["claim"] not in page.text
    token = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert token is not None
    form = {"session_id": started["session_id"], "form_token": token[1]}
    shown = client.post("checkout/done", data=form)
    key = re.search(r"<code>(tk_\w+)</code>", shown.text)
    assert key is not None
    assert shown.headers["cache-control"] == "no-store"
    again = client.post("checkout/done", data=form)
    assert again.status_code in (403, 410)
    assert key[1] not in again.text


def test_another_browser_that_saw_the_address_gets_nothing(client: TestClient, shop: Shop) -> None:
    started = pay(client, shop)
    client.cookies.clear()
    page = client.get(f"checkout/done?session_id={started['session_id']}")
    token = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert token is not None
    answer = client.post("checkout/done", data={"session_id": started["session_id"], "form_token": token[1]})
    assert answer.status_code == 403
    assert shop.ledger.rows("SELECT FROM api_keys") == []


def test_a_form_of_another_site_begins_nothing(client: TestClient, shop: Shop) -> None:
    calls = len(shop.standin.calls())
    answer = client.post("api/checkout", content=b'{"plan": "pro"}', headers={"Content-Type": "text/plain"})
    assert answer.status_code == 400
    assert len(shop.standin.calls()) == calls


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"plan": 7}', b"\xff", b"[" * 5000, b'{"plan": "nowhere"}'])
def test_a_strange_body_is_a_mistake_and_never_a_failure(client: TestClient, body: bytes) -> None:
    answer = client.post("api/checkout", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 404)


def test_the_portal_is_one_click_away_and_its_address_in_no_log(
    client: TestClient, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answer = client.get("portal")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("https://billing.stripe.com/")
    assert client.post("api/portal").json()["url"] != answer.headers["location"]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("tollkeeper")]
    assert not any("billing.stripe.com" in line for line in ours)


def test_who_has_no_name_here_cannot_subscribe(shop: Shop, settings: Settings) -> None:
    app = Starlette(routes=[Mount("/billing", billing_routes(settings=settings, clock=shop.clock))])
    with TestClient(app, base_url="https://testserver/billing/") as stranger:
        assert stranger.post("api/checkout", json={"plan": "pro"}).status_code == 401
        assert stranger.post("api/portal").status_code == 401
        key = issue_key(shop.ledger.database, "ada", shop.clock.now())
        headers = {"Authorization": f"Bearer {key}"}
        assert stranger.post("api/checkout", json={"plan": "pro"}, headers=headers).status_code == 201


class TestTheCommand:
    def call(self, shop: Shop, settings: Settings, *arguments: str, exit_code: int = 0) -> Any:
        runtime = Runtime(settings, clock=shop.clock)
        result = CliRunner().invoke(main, ["checkout", *arguments], obj=runtime, catch_exceptions=False)
        runtime.close()
        assert result.exit_code == exit_code, result.output
        return result

    def test_prints_the_address_last(self, shop: Shop, settings: Settings) -> None:
        printed = self.call(shop, settings, "ada", "pro").stdout
        assert printed.startswith("https://checkout.stripe.com/")
        told = json.loads(self.call(shop, settings, "ada", "pro", "--json").stdout)
        assert set(told) == {"user_id", "plan", "session_id", "url", "claim"}

    def test_says_in_a_line_what_stands_in_the_way(self, shop: Shop, settings: Settings) -> None:
        refused = self.call(shop, settings, "ada", "free", exit_code=2)
        assert refused.stderr == 'tollkeeper: plan: expected one that Stripe charges (collect = "meters"), not free\n'
        shop.subscribe()
        assert "has a subscription already" in self.call(shop, settings, "ada", "pro", exit_code=2).stderr
