"""A plan priced in naira, from the request to the paid invoice: middleware, close, worker's tasks, Paystack, webhook."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from integration.metering.apps import answering, chat_answer
from tollkeeper import MeteringMiddleware, billing_routes
from tollkeeper.cli import main
from tollkeeper.runtime import Runtime
from tollkeeper.settings import Settings, read_settings
from tollkeeper.testing import FrozenClock, PaystackStandIn
from tollkeeper.testing.standin.server import Served
from tollkeeper_workers import process
from tollkeeper_workers.tasks.billing import collect_invoices, follow_invoices

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "paystack.md"
NOVEMBER = datetime(2026, 11, 15, 12, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, 0, 6, tzinfo=UTC)


@pytest.fixture
def settings(
    migrated_database_url: str, redis_url: str, tmp_path: Path, standin: PaystackStandIn, url: str
) -> Settings:
    return read_settings(
        database_url=migrated_database_url,
        redis_url=redis_url,
        journal_dir=tmp_path,
        paystack_secret_key=standin.secret_key,
        paystack_api_base=url,
    )


class Shop:
    """A business as its owner runs it: commands, an app with two lines of ours in it, a worker."""

    def __init__(self, settings: Settings, clock: FrozenClock) -> None:
        self.runtime = Runtime(settings, clock=clock)
        app: Any = answering(chat_answer(12_000, 3_000))
        app.add_middleware(MeteringMiddleware, settings=settings, clock=clock, include=["/v1/*"])
        self.app = app

    def command(self, *words: str, exit_code: int = 0) -> str:
        result = CliRunner().invoke(main, words, obj=self.runtime, catch_exceptions=False)
        assert result.exit_code == exit_code, result.output
        return result.stdout

    def invoice(self) -> dict[str, Any]:
        [invoice] = json.loads(self.command("invoices", "list", "--json"))
        return dict(invoice)


@pytest.fixture
def shop(settings: Settings, clock: FrozenClock) -> Iterator[Shop]:
    clock.set(NOVEMBER)
    shop = Shop(settings, clock)
    process.use(settings)
    process.runtime().clock = clock
    yield shop
    process.runtime().close()
    shop.runtime.close()


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    """The plan that the page shows."""
    file = tmp_path / "plans.toml"
    file.write_text(PAGE.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0], encoding="utf-8")
    return file


def test_a_plan_in_naira_from_the_request_to_the_paid_invoice(
    shop: Shop, settings: Settings, clock: FrozenClock, standin: PaystackStandIn, plan_file: Path
) -> None:
    # Before anybody comes: a plan, a customer, a key.
    shop.command("plans", "apply", str(plan_file))
    shop.command("customers", "add", "ada", "--email", "ada@example.com", "--plan", "lagos")
    key = shop.command("keys", "issue", "ada").splitlines()[-1]

    # November: two requests of 12,000 tokens in and 3,000 out.
    with TestClient(shop.app) as client:
        for _ in range(2):
            answer = client.post("/v1/chat/completions", json={}, headers={"Authorization": f"Bearer {key}"})
            assert answer.status_code == 200

    # December: the period is closed. 20 of 30 thousand tokens at 200 naira a thousand, and 5,000 naira base fee.
    clock.set(DECEMBER)
    shop.command("invoices", "draft")
    assert (shop.invoice()["status"], shop.invoice()["total_amount"], shop.invoice()["currency"]) == (
        "draft",
        900_000,
        "ngn",
    )

    # The worker asks for it, and the customer pays on Paystack's page.
    collect_invoices()
    assert shop.invoice()["status"] == "finalized"
    (request,) = standin.payment_requests()
    assert (request["amount"], request["currency"]) == (900_000, "NGN")
    standin.pay(request["request_code"])

    # Paystack's webhook rings, the worker looks, and only then it is paid.
    with Served(billing_routes(settings=settings, clock=clock), "127.0.0.1", 0) as server:
        deliveries = standin.deliver_all(f"{server.url}/webhooks/paystack")
    assert [delivery.status for delivery in deliveries] == [200, 200, 200]
    assert shop.invoice()["status"] == "finalized"
    follow_invoices()

    assert shop.invoice()["status"] == "paid"
    [period] = json.loads(shop.command("reconcile", "--json"))["periods"]
    assert (period["ok"], period["amount_billed"], period["amount_collected"]) == (True, 400_000, 900_000)
    assert standin.collected() == 900_000


def test_the_same_by_commands_alone_with_a_card(
    shop: Shop, clock: FrozenClock, standin: PaystackStandIn, plan_file: Path
) -> None:
    standin.add_card("ada@example.com")
    shop.command("plans", "apply", str(plan_file))
    shop.command("customers", "add", "ada", "--email", "ada@example.com", "--plan", "lagos")

    assert "is charged" in shop.command("paystack", "card", "ada", "--use", "4081")
    clock.set(DECEMBER)
    shop.command("invoices", "draft")

    assert shop.command("paystack", "collect") == "issued 1 nothing due 0 pending 0 parked 0 moved on 0\n"
    assert shop.invoice()["status"] == "paid"
    assert shop.command("paystack", "collect") == "issued 0 nothing due 0 pending 0 parked 0 moved on 0\n"
    assert "no card is charged" in shop.command("paystack", "card", "ada", "--forget")
    assert "answers, test money" in shop.command("doctor")


def test_what_cannot_be_collected_is_seen_in_the_exit_status_and_by_reconcile(
    shop: Shop, clock: FrozenClock, standin: PaystackStandIn, plan_file: Path
) -> None:
    shop.command("plans", "apply", str(plan_file))
    shop.command("customers", "add", "ada", "--email", "ada@example.com", "--plan", "lagos")
    clock.set(DECEMBER)
    shop.command("invoices", "draft")
    [waiting] = json.loads(shop.command("reconcile", "--json"))["periods"]
    assert (waiting["ok"], len(waiting["notes"])) == (True, 1)

    standin.inject("error_before", method="POST", path="/paymentrequest", status=503)
    assert shop.command("paystack", "collect", exit_code=1).startswith("issued 0 nothing due 0 pending 1")
    shop.command("paystack", "collect")
    (request,) = standin.payment_requests()
    standin.pay(request["request_code"], amount=1)

    shop.command("paystack", "collect")
    [period] = json.loads(shop.command("reconcile", "--json", exit_code=1))["periods"]
    assert period["differences"] == [f"{request['request_code']} is over 1 ngn at paystack, ours over 500000 ngn"]


def test_commands_say_in_one_line_what_is_missing(settings: Settings, clock: FrozenClock) -> None:
    bare = Runtime(settings.model_copy(update={"paystack_secret_key": None}), clock=clock)
    for words in (("paystack", "collect"), ("paystack", "card", "ada")):
        result = CliRunner().invoke(main, words, obj=bare)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert "PAYSTACK_SECRET_KEY" in result.stderr
    bare.close()
