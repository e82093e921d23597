"""Setting Stripe up: what the plans need is made once, found again, and replaced where it charges something else."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from integration.closing.ledger import NOVEMBER, Ledger
from integration.stripe_setup.shop import PRO, URL
from tollkeeper.payments.stripe import StripeDidNotAnswer, StripePayments
from tollkeeper.payments.stripe_catalog import PermissionMissing, StripeCatalog
from tollkeeper.services.provisioning import Setup, missing_at_stripe, set_up
from tollkeeper.testing import FrozenClock, StripeStandIn

READER = ("POST /v1/billing/meter_events", "GET /v1/*", "GET /v2/*")


class Stand:
    def __init__(self, ledger: Ledger, standin: StripeStandIn, url: str) -> None:
        self.ledger, self.standin, self.url = ledger, standin, url
        self.client = stripe.StripeClient(standin.api_key, base_addresses={"api": url})

    def set_up(self, key: str | None = None, **more: Any) -> Setup:
        account = StripePayments(key or self.standin.api_key, api_base=self.url, timeout_seconds=5)
        options = {"public_url": URL, **more}
        return set_up(self.ledger.database, StripeCatalog(account), now=NOVEMBER, **options)

    def actions(self, **more: Any) -> dict[str, str]:
        return {step.key: step.action for step in self.set_up(**more).steps}

    def counts(self) -> dict[str, int]:
        kinds = ("billing/meters", "products", "prices", "billing_portal/configurations", "webhook_endpoints")
        made = [call["path"].removeprefix("/v1/") for call in self.standin.calls() if call["method"] == "POST"]
        return {kind: made.count(kind) for kind in kinds}


@pytest.fixture
def shop(ledger: Ledger) -> Iterator[Stand]:
    ledger.plan(PRO)
    standin = StripeStandIn(FrozenClock(NOVEMBER), restricted_keys={"rk_test_reader": READER})
    with standin.serve() as server:
        yield Stand(ledger, standin, server.url)


def test_a_dry_run_shows_everything_and_makes_nothing(shop: Stand) -> None:
    assert set(shop.actions(dry_run=True).values()) == {"make"}
    assert sum(shop.counts().values()) == 0
    assert shop.ledger.rows("SELECT FROM stripe_objects") == []


def test_everything_is_made_once_however_often_it_is_run(shop: Stand) -> None:
    first = shop.set_up()
    assert {step.action for step in first.steps} == {"make"}
    assert [step.kind for step in first.steps if step.secret] == ["webhook", "thin_webhook"]
    again = shop.set_up()
    assert {step.action for step in again.steps} == {"keep"}
    assert [step.stripe_id for step in again.steps] == [step.stripe_id for step in first.steps]
    assert shop.counts() == {
        "billing/meters": 1,
        "products": 1,
        "prices": 2,
        "billing_portal/configurations": 1,
        "webhook_endpoints": 1,
    }


def test_stripe_charges_by_these_prices_what_we_do(shop: Stand) -> None:
    shop.set_up()
    keys = ["tollkeeper:pro:base", "tollkeeper:pro:ai_tokens"]
    found = shop.client.v1.prices.list({"lookup_keys": keys, "expand": ["data.tiers"]})
    by_key = {price.lookup_key: price for price in found.data}
    base, tokens = by_key[keys[0]], by_key[keys[1]]
    assert (base.unit_amount, base.product) == (9_900, "tollkeeper_pro")
    assert tokens.tiers is not None
    assert [(tier.up_to, str(tier.unit_amount_decimal)) for tier in tokens.tiers] == [(100_000, "0"), (None, "0.0003")]
    [meter] = shop.client.v1.billing.meters.list().data
    assert tokens.recurring is not None
    assert (tokens.recurring.meter, meter.event_name) == (meter.id, "ai_tokens")


def test_our_endpoint_speaks_the_sdks_version(shop: Stand) -> None:
    shop.set_up()
    [endpoint] = shop.client.v1.webhook_endpoints.list().data
    assert (endpoint.api_version, endpoint.url) == (stripe.api_version, f"{URL}/webhooks/stripe")
    assert "invoice.paid" in endpoint.enabled_events


def test_a_plan_that_charges_something_else_gets_a_new_price_and_the_old_one_is_archived(shop: Stand) -> None:
    before = {step.key: step.stripe_id for step in shop.set_up().steps}
    shop.ledger.plan(PRO.replace('"0.003"', '"0.004"'))
    assert missing_at_stripe(shop.ledger.database, livemode=False) == ["price tollkeeper:pro:ai_tokens"]
    actions = shop.actions()
    assert actions.pop("tollkeeper:pro:ai_tokens") == "replace"
    assert set(actions.values()) == {"keep"}
    assert missing_at_stripe(shop.ledger.database, livemode=False) == []
    old = shop.client.v1.prices.retrieve(str(before["tollkeeper:pro:ai_tokens"]))
    assert (old.active, old.lookup_key) == (False, None)
    rows = shop.ledger.rows("SELECT active FROM stripe_objects WHERE kind = 'price' ORDER BY active")
    assert [row["active"] for row in rows] == [False, True, True]


@pytest.mark.parametrize("path", ["/v1/billing/meters", "/v1/products", "/v1/prices", "/v1/webhook_endpoints"])
def test_after_an_answer_that_got_lost_the_next_run_finds_what_was_made(shop: Stand, path: str) -> None:
    shop.standin.inject("drop_after", method="POST", path=path)
    with pytest.raises(StripeDidNotAnswer):
        shop.set_up()
    shop.set_up()
    assert set(shop.actions().values()) == {"keep"}
    assert shop.counts()["billing/meters"] == 1
    assert len(shop.client.v1.prices.list().data) == 2
    assert len(shop.client.v1.webhook_endpoints.list().data) == 1


def test_two_that_set_up_at_once_make_everything_once(shop: Stand) -> None:
    with ThreadPoolExecutor(2) as pool:
        for run in [pool.submit(shop.set_up) for _ in range(2)]:
            run.result()
    assert len(shop.client.v1.prices.list().data) == 2
    assert len(shop.client.v1.billing.meters.list().data) == 1


def test_a_key_without_permission_is_told_which_one_it_lacks(shop: Stand) -> None:
    with pytest.raises(PermissionMissing, match="Billing meters: Write") as caught:
        shop.set_up("rk_test_reader")
    assert caught.value.permission == "Billing meters: Write"


def test_another_address_gets_another_endpoint_and_the_old_one_goes(shop: Stand) -> None:
    shop.set_up()
    done = shop.set_up(public_url="https://elsewhere.example.com/billing")
    assert [step.kind for step in done.steps if step.action == "replace"] == ["webhook", "thin_webhook"]
    [endpoint] = shop.client.v1.webhook_endpoints.list().data
    assert endpoint.url == "https://elsewhere.example.com/billing/webhooks/stripe"


def test_without_a_public_address_the_endpoint_is_left_out_and_that_is_said(shop: Stand) -> None:
    step = shop.set_up(public_url=None).steps[-1]
    assert (step.action, step.kind) == ("skip", "webhook")
    assert "TOLLKEEPER_PUBLIC_URL" in str(step.detail)


def test_a_plan_that_stripe_cannot_charge_is_named_and_the_others_are_made(shop: Stand) -> None:
    shop.ledger.plan(
        '[plans.floor]\nname = "F"\ncurrency = "usd"\nminimum = "5.00"\n[[plans.floor.prices]]\nprice = "1"\n'
    )
    done = shop.set_up()
    assert [plan.plan_id for plan in done.unfit] == ["floor"]
    assert "tollkeeper:pro:base" in {step.key for step in done.steps}
    assert any("floor" in line for line in missing_at_stripe(shop.ledger.database, livemode=False))
