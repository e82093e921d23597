"""Real Celery processes on real services: what they do by themselves, and what killing them changes (nothing)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from integration.closing.ledger import CENT, TIERED, Ledger
from integration.mail.conftest import Inbox, start_inbox
from integration.notices.conftest import Receiver, start_receiver
from tollkeeper.clock import ShiftedClock
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.services.hooking import add_hook
from tollkeeper.storage.database import Database
from tollkeeper.storage.partitions import month_start
from tollkeeper.testing import FaultKind, FrozenClock, StripeStandIn

__all__ = ["start_inbox", "start_receiver"]

LAST_MONTH = month_start(month_start(datetime.now(UTC)) - timedelta(days=1))
PATIENCE_SECONDS = 40
CELERY = [sys.executable, "-m", "celery"]


@dataclass
class Works:
    """A folder to run in, the services, and every process that was started."""

    ledger: Ledger
    folder: Path
    standin: StripeStandIn
    environment: dict[str, str]
    slack: Receiver
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *arguments: str, app: str = "tollkeeper_workers") -> subprocess.Popen[bytes]:
        """A Celery process in a session of its own, so that it can be killed with its children."""
        log = (self.folder.parent / f"{len(self.started)}.log").open("wb")
        process = subprocess.Popen(
            [*CELERY, "-A", app, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wait_until(self, what: str, happened: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not happened():
            if time.monotonic() > end:
                logs = sorted(self.folder.parent.glob("*.log"))
                pytest.fail(f"{what}: not within {PATIENCE_SECONDS} s\n" + "\n".join(log.read_text() for log in logs))
            time.sleep(0.05)

    def invoices(self) -> list[str]:
        return [row["status"] for row in self.ledger.rows("SELECT status FROM invoices ORDER BY user_id")]

    def counted(self) -> int:
        return sum(int(event["payload"]["value"]) for event in self.standin.meter_events())

    def alive(self) -> set[str]:
        """The roles that said so, and whether a message came through."""
        rows = self.ledger.rows("SELECT role, worked_at FROM heartbeats")
        return {row["role"] for row in rows} | {"work" for row in rows if row["worked_at"] is not None}

    def proofs(self) -> list[tuple[int, int]]:
        """Periods and differences of each daily reconciling that has ended."""
        rows = self.ledger.rows("SELECT periods, differing FROM reconciliations WHERE ended_at IS NOT NULL")
        return [(row["periods"], row["differing"]) for row in rows]

    def shift(self, seconds: int) -> None:
        Path(self.environment["TOLLKEEPER_CLOCK_FILE"]).write_text(str(seconds))


@pytest.fixture
def works(
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    start_inbox: Callable[..., Inbox],
    start_receiver: Callable[..., Receiver],
) -> Iterator[tuple[Works, Inbox]]:
    folder, clock = tmp_path / "empty", tmp_path / "clock"
    folder.mkdir()
    clock.write_text("3600")  # so that a month that has just begun is no special case
    standin, inbox, slack = StripeStandIn(ShiftedClock(clock)), start_inbox(), start_receiver(is_slack=True)
    standin.add_customer("cus_ada")
    standin.add_meter("ai_tokens")
    with ExitStack() as stack:
        server = stack.enter_context(standin.serve())
        database = stack.enter_context(Database(database_url))
        environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "STRIPE_API_KEY": standin.api_key,
            "STRIPE_API_BASE": server.url,
            "TOLLKEEPER_SMTP_URL": f"smtp://127.0.0.1:{inbox.port}",
            "TOLLKEEPER_MAIL_FROM": "billing@example.com",
            "TOLLKEEPER_SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/secret",
            "TOLLKEEPER_SLACK_API_BASE": slack.url,
            "TOLLKEEPER_HOOKS_ALLOW_LOOPBACK": "1",
            "TOLLKEEPER_CLOCK_FILE": str(clock),
            "TOLLKEEPER_JOURNAL_DIR": str(tmp_path / "journal"),
            "TOLLKEEPER_SWEEP_SECONDS": "1",
        }
        own = Works(Ledger(database), folder, standin, environment, slack)
        try:
            yield own, inbox
        finally:
            for process in own.started:
                own.kill(process)


def test_a_worker_and_a_beat_do_all_there_is_to_do_and_leave_no_file_behind(
    works: tuple[Works, Inbox], start_receiver: Callable[..., Receiver]
) -> None:
    own, inbox = works
    ledger, now = own.ledger, datetime.now(UTC)
    ledger.plan(CENT + TIERED)
    ledger.customer(stripe="cus_ada", since=LAST_MONTH)
    ledger.use(tokens_in=100, tokens_out=11, at=LAST_MONTH)
    ledger.customer("bob", plan="tiered", since=LAST_MONTH)
    ledger.use("bob", tokens_in=850_000, at=now)
    ledger.run(
        "INSERT INTO holds (id, user_id, started_at, expires_at, tokens_in) "
        "VALUES (gen_random_uuid(), 'bob', :start, :end, 5)",
        start=now - timedelta(hours=1),
        end=now,
    )
    endpoint = start_receiver()
    add_hook(ledger.database, endpoint.url, FrozenClock(now), user_id="bob", allow_loopback=True)
    # As they stand in the Procfile's promise: no queue named, no file named.
    worker = own.start("worker", "--loglevel", "INFO", "--concurrency", "2")
    beat = own.start("beat", "--loglevel", "INFO")

    own.wait_until("the invoice is final", lambda: own.invoices() == ["finalized"])
    own.wait_until("all notices are sent: 50 and 80 %, the draft, the invoice", lambda: len(inbox.messages) == 4)
    own.wait_until("the operator's room has them all", lambda: len(own.slack.calls) == 4)
    own.wait_until("the customer's endpoint has their own", lambda: len(endpoint.calls) == 2)
    own.wait_until("the lost request has its row", lambda: ledger.rows("SELECT FROM holds") == [])
    own.wait_until("both say that they live, and work comes through", lambda: own.alive() == {"beat", "worker", "work"})
    own.wait_until("everything was compared", lambda: own.proofs() == [(2, 0)])
    time.sleep(2.5)  # two more rounds, which must change nothing
    assert (own.counted(), own.invoices(), len(inbox.messages)) == (111, ["finalized"], 4)
    assert (len(own.slack.calls), len(endpoint.calls)) == (4, 2)
    assert len(ledger.rows("SELECT FROM usage_events WHERE NOT complete")) == 1

    for process in (beat, worker):
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
    assert list(own.folder.iterdir()) == []


def test_workers_killed_in_the_middle_two_beats_and_a_flushed_broker_change_no_sum(works: tuple[Works, Inbox]) -> None:
    own, _ = works
    ledger = own.ledger
    ledger.plan(CENT)
    for n in range(6):
        own.standin.add_customer(f"cus_{n}")
        ledger.customer(f"user-{n}", stripe=f"cus_{n}", since=LAST_MONTH)
        ledger.use(f"user-{n}", tokens_in=10**n, at=LAST_MONTH)
    own.standin.inject(FaultKind.HANG_AFTER, path="/v1/billing/meter_events", times=2, seconds=3)
    worker = own.start("worker", "--concurrency", "2")
    for _ in range(2):
        own.start("beat")

    own.wait_until("a call to Stripe is under way", lambda: own.counted() > 0)
    own.kill(worker)
    assert own.ledger.rows("SELECT FROM stripe_reports WHERE state = 'sending'"), "killed between call and record"
    with redis.Redis.from_url(own.environment["REDIS_URL"]) as broker:
        broker.flushdb()
    own.shift(3600 + 180)  # past the time in which the dead one might have answered
    own.start("worker", "--concurrency", "2")

    own.wait_until("all invoices are final", lambda: own.invoices() == ["finalized"] * 6)
    time.sleep(1.5)
    assert own.counted() == 111_111
    assert own.invoices() == ["finalized"] * 6
    stripe = StripePayments(own.standin.api_key, api_base=own.environment["STRIPE_API_BASE"])
    from tollkeeper.services.reconciling import reconcile

    assert reconcile(ledger.database, stripe, now=datetime.now(UTC) + timedelta(hours=2)).ok


def test_a_host_runs_our_tasks_in_its_own_celery_app(works: tuple[Works, Inbox]) -> None:
    own, _ = works
    (own.folder / "hostapp.py").write_text(
        "import os\n"
        "from celery import Celery\n"
        "from tollkeeper_workers import install\n"
        "app = Celery('hostapp', broker=os.environ['REDIS_URL'])\n"
        "app.conf.beat_scheduler = 'celery.beat:Scheduler'\n"
        "app.conf.worker_pool_start_method = 'spawn'\n"  # the other tests fork
        "@app.task(name='hostapp.ping')\n"
        "def ping():\n"
        "    open('pinged', 'w').close()\n"
        "app.conf.beat_schedule = {'ping': {'task': 'hostapp.ping', 'schedule': 1.0}}\n"
        "install(app)\n"
    )
    own.ledger.plan(CENT)
    own.ledger.customer(stripe="cus_ada", since=LAST_MONTH)
    own.ledger.use(tokens_in=100, at=LAST_MONTH)
    own.start("worker", "--concurrency", "2", "--queues", "celery,tollkeeper", app="hostapp")
    own.start("beat", app="hostapp")
    own.wait_until("our task ran in it", lambda: own.invoices() == ["finalized"])
    own.wait_until("its own task ran too", (own.folder / "pinged").exists)
