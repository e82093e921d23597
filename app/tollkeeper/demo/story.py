"""The demo's story: from an empty machine to a paid invoice, every figure compared with one worked out by hand."""

from __future__ import annotations

import json
import platform
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from email import message_from_bytes, policy
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import openai
import stripe
from aiosmtpd.controller import Controller

from tollkeeper.clock import ShiftedClock
from tollkeeper.demo.evidence import Evidence
from tollkeeper.demo.processes import Processes
from tollkeeper.domain.currency import display
from tollkeeper.domain.period import Period, period_of
from tollkeeper.embedded import Services
from tollkeeper.services.masking import shown_settings
from tollkeeper.settings import read_settings
from tollkeeper.testing import StripeStandIn

WEBHOOK_SECRET = "whsec_only_for_the_demo"  # noqa: S105 # of a stand-in that lives a minute
USER = "alice"
MODEL = "gpt-4o-mini"
PATIENCE_SECONDS = 45

_PACKAGES = (
    "tollkeeper",
    "starlette",
    "fastapi",
    "uvicorn",
    "celery",
    "redis",
    "sqlalchemy",
    "psycopg",
    "stripe",
    "openai",
)


@dataclass(frozen=True)
class Request:
    """A prompt of so many words, an answer of so many; a word is a token."""

    tokens_in: int
    tokens_out: int
    stream: bool = False


REQUESTS = (
    Request(300_000, 150_000),
    Request(200_000, 60_000),
    Request(100_000, 40_000, stream=True),
    Request(60_000, 20_000),
    Request(50_000, 70_000),
)
ONE_TOO_MANY = Request(10, 180_000)

# By hand: 450,000 + 260,000 + 140,000 + 80,000 + 120,000 = 1,050,000 tokens. 100,000 are free, 900,000 cost $0.01 a
# thousand, that is $9.00, and 50,000 cost $0.005 a thousand, that is $0.25.
TOKENS = 1_050_000
LINES = [(100_000, 0), (900_000, 900), (50_000, 25)]
TOTAL = 925
CAP = 1010
# What is left of the cap, 85 cents, pays for 170,000 tokens at $0.005 a thousand: one request for 180,000 does not fit.


class Inbox:
    """A mail server's end of the line: what was delivered."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 # aiosmtpd's name
        """Take one message."""
        del server, session
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def subjects(self) -> list[str]:
        """The subjects so far, in order of their text."""
        return sorted(str(message["Subject"]) for message in self.messages)


def tell(evidence: Evidence) -> None:
    """Run the whole path once on servers of its own."""
    with tempfile.TemporaryDirectory(prefix="tollkeeper-demo-") as folder, ExitStack() as stack:
        Story(evidence, Path(folder), stack).run()


class Story:
    """One run. Everything it starts ends with the stack."""

    def __init__(self, evidence: Evidence, folder: Path, stack: ExitStack) -> None:
        self._evidence = evidence
        self._folder = folder
        self._clock_file = folder / "clock"
        self._clock_file.write_text("0")
        self._clock = ShiftedClock(self._clock_file)
        self._began = self._clock.now()
        self._period: Period = period_of("month", self._began)
        evidence.heading("Starting PostgreSQL, Redis, a mail server and a stand-in for Stripe")
        # Never those that the environment names: they may hold real customers, and a demo applies plans and ends a month.
        self._services = stack.enter_context(Services())
        self._inbox = Inbox()
        self._smtp_port = _free_port()
        stack.enter_context(_serving_mail(self._inbox, self._smtp_port))
        self._standin = StripeStandIn(self._clock)
        self._stripe_url = stack.enter_context(self._standin.serve()).url
        self._web_port = _free_port()
        self._processes = stack.enter_context(Processes(folder, self._environment(), settings_too=False))

    def run(self) -> None:
        """Tell it from beginning to end."""
        self._show_what_runs()
        key = self._set_up()
        self._start()
        self._send_requests(key)
        self._expect_mail()
        self._expect_refusal(key)
        invoice = self._close_the_month()
        self._report(invoice)
        self._pay(invoice)
        self._reconcile()

    def _environment(self) -> dict[str, str]:
        return {
            "TOLLKEEPER_DATABASE_URL": self._services.database_url,
            "TOLLKEEPER_REDIS_URL": self._services.redis_url,
            "TOLLKEEPER_JOURNAL_DIR": str(self._folder / "journal"),
            "TOLLKEEPER_CLOCK_FILE": str(self._clock_file),
            "TOLLKEEPER_SWEEP_SECONDS": "1",
            "TOLLKEEPER_SMTP_URL": f"smtp://127.0.0.1:{self._smtp_port}",
            "TOLLKEEPER_MAIL_FROM": "billing@example.com",
            "STRIPE_API_KEY": self._standin.api_key,
            "STRIPE_API_BASE": self._stripe_url,
            "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        }

    # -- the parts of the story ------------------------------------------------------------------------------------

    def _show_what_runs(self) -> None:
        versions = {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
        shown = shown_settings(read_settings(**self._environment()))
        settings = {name: value for name, value in shown.items() if value is not None}
        self._evidence.facts |= {
            "command": " ".join(sys.argv),
            "began_at": self._began,
            "versions": versions,
            "settings": settings,
        }
        self._evidence.say("    " + ", ".join(f"{name} {number}" for name, number in versions.items()))
        self._evidence.say("    " + ", ".join(f"{name}={value}" for name, value in settings.items()))

    def _set_up(self) -> str:
        self._evidence.heading("Setting up: schema, plan, customer, key")
        plans = self._folder / "plans.toml"
        plans.write_text(files("tollkeeper.demo").joinpath("plans.toml").read_text())
        self._standin.add_meter("ai_tokens")
        stripe_customer = self._standin.add_customer("cus_demo_alice", email="alice@example.com")
        self._command("db", "upgrade")
        self._command("plans", "apply", str(plans))
        self._command(
            "customers", "add", USER, "--email", "alice@example.com", "--plan", "pro",
            "--stripe-customer-id", stripe_customer,
        )  # fmt: skip
        return self._command("keys", "issue", USER).splitlines()[-1]

    def _start(self) -> None:
        self._evidence.heading("Starting the app, a Celery worker and beat")
        port = str(self._web_port)
        self._processes.start(
            "web",
            ["uvicorn", "tollkeeper.demo.app:app", "--host", "127.0.0.1", "--port", port, "--log-level", "warning"],
        )
        self._processes.start("worker", ["celery", "-A", "tollkeeper_workers", "worker", "--loglevel", "INFO"])
        self._start_beat()
        self._processes.wait_until("the app answers", self._answers, PATIENCE_SECONDS)
        self._evidence.note(f"http://127.0.0.1:{port} answers")

    def _start_beat(self) -> None:
        self._processes.start("beat", ["celery", "-A", "tollkeeper_workers", "beat", "--loglevel", "INFO"])

    def _send_requests(self, key: str) -> None:
        self._evidence.heading("Five requests through the OpenAI client, one of them streamed")
        client = self._client(key)
        for request in REQUESTS:
            answered = _ask(client, request)
            shape = "streamed" if request.stream else "at once"
            self._evidence.note(f"{request.tokens_in:>7,} tokens in, {answered:>7,} out, {shape}")
        rows = self._rows(
            "SELECT tokens_in, tokens_out, model_id, complete, estimated FROM usage_events ORDER BY timestamp"
        )
        expected = [
            {
                "tokens_in": request.tokens_in,
                "tokens_out": request.tokens_out,
                "model_id": MODEL,
                "complete": True,
                "estimated": False,
            }
            for request in REQUESTS
        ]
        self._evidence.check("rows in usage_events", len(rows), len(REQUESTS))
        self._evidence.check("each with its own tokens and model", rows == expected, True, inputs=rows)
        self._command("usage", "show", USER, "--json")

    def _expect_mail(self) -> None:
        self._evidence.heading("Mails: 80 % of the quota of 1,250,000 tokens are used, and of the spend cap")

        def both() -> bool:
            return len(self._inbox.messages) >= 3

        self._processes.wait_until("two notices arrived", both, PATIENCE_SECONDS)
        time.sleep(2)  # a second copy would come with the next sweep
        for subject in self._inbox.subjects():
            self._evidence.note(subject)
        for threshold in (50, 80):
            count = sum(f"{threshold} %" in subject for subject in self._inbox.subjects())
            self._evidence.check(f"mails for {threshold} %", count, 1)
        near = sum("near your spend cap" in subject for subject in self._inbox.subjects())
        self._evidence.check("mails that the spend cap is near", near, 1)
        self._evidence.check("mails in all", len(self._inbox.messages), 3)
        to = {str(message["To"]) for message in self._inbox.messages}
        self._evidence.check("all of them to the customer", to, {"alice@example.com"})

    def _expect_refusal(self, key: str) -> None:
        self._evidence.heading(f"One more, that could pass the cap of {display(CAP, 'usd')}")
        status, body = 200, {}
        try:
            _ask(self._client(key), ONE_TOO_MANY)
        except openai.APIStatusError as error:
            status, body = error.status_code, error.response.json()
            self._evidence.note(body["detail"])
        self._evidence.check("status", status, 402)
        self._evidence.check("code", body.get("code"), "spend_cap_reached")
        self._evidence.check("spent so far, in cents", body.get("spent"), TOTAL)
        self._evidence.check("rows in usage_events", self._count("usage_events"), len(REQUESTS))

    def _close_the_month(self) -> dict[str, Any]:
        end = self._period.end
        self._evidence.heading(f"The month ends: {end:%d %B %Y}, midnight UTC")
        # Beat would go on to Stripe within a second; without it the draft can be looked at in peace.
        self._processes.stop("beat")
        shift = end - self._clock.now() + timedelta(minutes=10)
        self._clock_file.write_text(str(int(shift.total_seconds())))
        for _ in range(2):  # the second time changes nothing
            self._command("invoices", "draft", "--as-of", end.isoformat())
        invoices = json.loads(self._command("invoices", "list", "--json"))
        listed = invoices["invoices"] if isinstance(invoices, dict) else invoices
        self._evidence.check("invoices after closing twice", len(listed), 1)
        invoice: dict[str, Any] = json.loads(self._command("invoices", "show", str(listed[0]["id"]), "--json"))
        self._evidence.check("status", invoice["status"], "draft")
        lines = [(int(float(line["quantity"])), line["amount"]) for line in invoice["lines"]]
        for line in invoice["lines"]:
            self._evidence.note(f"{line['description']}: {display(line['amount'], 'usd')}")
        self._evidence.check("tokens and cents by tier", lines, LINES)
        self._evidence.check("total = tokens times price, in cents", invoice["total_amount"], TOTAL)
        self._evidence.check("Stripe knows nothing yet", len(self._standin.meter_events()), 0)
        return invoice

    def _report(self, invoice: dict[str, Any]) -> None:
        self._evidence.heading("Beat and worker tell Stripe")
        self._start_beat()

        def finalized() -> bool:
            return self._status(invoice) == "finalized"

        self._processes.wait_until("the invoice is finalized", finalized, PATIENCE_SECONDS)
        self._evidence.check("tokens read back from Stripe", self._tokens_at_stripe(), TOKENS)
        self._evidence.check("our invoice", self._status(invoice), "finalized")
        stamps = {event["timestamp"] for event in self._standin.meter_events()}
        last_second = int((self._period.end - timedelta(seconds=1)).timestamp())
        self._evidence.check("stamped with the period's last second", stamps, {last_second})
        self._command("stripe", "report")
        self._evidence.check("tokens at Stripe after reporting again", self._tokens_at_stripe(), TOKENS)

    def _pay(self, invoice: dict[str, Any]) -> None:
        self._evidence.heading("Stripe says that it was paid")
        paid = self._standin.invoice(
            customer="cus_demo_alice",
            period_start=self._period.start,
            period_end=self._period.end,
            amount=TOTAL,
            metadata={"tollkeeper_invoice_id": str(invoice["id"])},
        )
        url = f"http://127.0.0.1:{self._web_port}/billing/webhooks/stripe"
        forged = self._standin.deliver(url, "whsec_of_somebody_else", "invoice.paid", paid)
        self._evidence.check("answer to a forged webhook", forged.status, 400)
        signed = self._standin.deliver(url, WEBHOOK_SECRET, "invoice.paid", paid)
        self._evidence.check("answer to the signed webhook", signed.status, 200)

        def is_paid() -> bool:
            return self._status(invoice) == "paid"

        self._processes.wait_until("the invoice is paid", is_paid, PATIENCE_SECONDS)
        self._evidence.check("our invoice", self._status(invoice), "paid")

    def _reconcile(self) -> None:
        self._evidence.heading("Does everything agree?")
        found = json.loads(self._command("reconcile", "--json", allowed=(0, 1)))
        self._evidence.check("events = totals = invoice lines = Stripe", found["ok"], True, inputs=found)

    # -- small things ----------------------------------------------------------------------------------------------

    def _command(self, *arguments: str, allowed: tuple[int, ...] = (0,)) -> str:
        output = self._processes.run(["tollkeeper", *arguments], allowed=allowed)
        hidden = arguments[:2] == ("keys", "issue")
        self._evidence.steps.append(
            {"command": f"tollkeeper {' '.join(arguments)}", "output": "(a key, shown once)" if hidden else output}
        )
        self._evidence.say(f"    $ tollkeeper {' '.join(arguments)}".replace(str(self._folder) + "/", ""))
        return output

    def _client(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(api_key=key, base_url=f"http://127.0.0.1:{self._web_port}/v1", max_retries=0)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._web_port}/billing/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _tokens_at_stripe(self) -> int:
        client = stripe.StripeClient(self._standin.api_key, base_addresses={"api": self._stripe_url})
        [meter] = client.v1.billing.meters.list({"status": "active"}).data
        start, end = (int(bound.timestamp()) for bound in (self._period.start, self._period.end))
        summaries = client.v1.billing.meters.event_summaries.list(
            meter.id, {"customer": "cus_demo_alice", "start_time": start, "end_time": end}
        )
        return int(sum(summary.aggregated_value for summary in summaries.data))

    def _status(self, invoice: dict[str, Any]) -> str:
        return str(self._rows("SELECT status FROM invoices WHERE id = %s", invoice["id"])[0]["status"])

    def _count(self, table: str) -> int:
        assert table == "usage_events"
        return int(self._rows("SELECT count(*) FROM usage_events")[0]["count"])

    def _rows(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        import psycopg
        from psycopg.rows import dict_row

        from tollkeeper.storage.database import way_to

        way = way_to(self._services.database_url, None)
        with psycopg.connect(way.url, row_factory=dict_row, **way.arguments) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()


def _ask(client: openai.OpenAI, request: Request) -> int:
    """Send one chat request; the number of tokens that the client was told it got."""
    messages: list[Any] = [{"role": "user", "content": "a " * request.tokens_in}]
    if not request.stream:
        answer = client.chat.completions.create(model=MODEL, messages=messages, max_tokens=request.tokens_out)
        assert answer.usage is not None
        return answer.usage.completion_tokens
    told = 0
    for chunk in client.chat.completions.create(
        model=MODEL,
        messages=messages,
        max_tokens=request.tokens_out,
        stream=True,
        stream_options={"include_usage": True},
    ):
        if chunk.usage is not None:
            told = chunk.usage.completion_tokens
    return told


@contextmanager
def _serving_mail(inbox: Inbox, port: int) -> Iterator[None]:
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield
    finally:
        controller.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
