"""Several reporters, a reporter that is killed, and whole histories of faults: Stripe counts everything once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest

from integration.closing.ledger import DECEMBER, Ledger, wait_until
from integration.reporting.conftest import CUSTOMER, Reporting
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.services.reporting import report_owed
from tollkeeper.testing import FaultKind, FrozenClock, Rules, StripeStandIn

EVENTS = "/v1/billing/meter_events"

_REPORT = """
import sys
from datetime import datetime
from tollkeeper.payments.stripe import StripePayments
from tollkeeper.services.reporting import report_owed
from tollkeeper.services.reporting import report_owed
from tollkeeper.storage.database import Database
with Database(sys.argv[1]) as database:
    stripe = StripePayments(sys.argv[3], api_base=sys.argv[2])
    report_owed(database, stripe, now=datetime.fromisoformat(sys.argv[4]))
"""


def test_reporters_at_once_send_everything_once_and_one_call_at_a_time_for_a_customer(reporting: Reporting) -> None:
    customers = {f"user-{n}": f"cus_{n}" for n in range(4)}
    for user, customer in customers.items():
        reporting.standin.add_customer(customer)
        reporting.close(100, 20, 3, user_id=user, stripe=customer)
    reporting.standin.inject(FaultKind.HANG_AFTER, path=EVENTS, times=99, seconds=0.02)
    with ThreadPoolExecutor(6) as pool:
        runs = [pool.submit(reporting.report) for _ in range(6)]
        assert sum(run.result().acknowledged for run in runs) + reporting.report().acknowledged == 12
    assert len(reporting.sent()) == 12
    assert {reporting.counted(customer) for customer in customers.values()} == {Decimal(123)}
    assert {reporting.invoice_status(user)[0] for user in customers} == {"finalized"}


def test_while_one_call_about_a_customer_is_under_way_no_other_begins(reporting: Reporting) -> None:
    reporting.close(100, 20)
    reporting.standin.inject(FaultKind.HANG_BEFORE, path=EVENTS, seconds=0.5)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(reporting.report, limit=1)
        wait_until(lambda: bool(reporting.sent()))
        assert reporting.report(insist=True).sent == 0
        assert slow.result().acknowledged == 1
    assert reporting.report().acknowledged == 1


def test_a_reporter_that_was_given_up_changes_nothing_when_it_wakes_up(reporting: Reporting) -> None:
    reporting.close(100)
    reporting.standin.inject(FaultKind.HANG_BEFORE, path=EVENTS, seconds=1)
    base = reporting.stripe._api_base
    with ThreadPoolExecutor(1) as pool:
        impatient = StripePayments(reporting.standin.api_key, api_base=base, timeout_seconds=0.6)
        now = reporting.clock.now()
        slow = pool.submit(report_owed, reporting.ledger.database, impatient, now=now)
        wait_until(lambda: bool(reporting.sent()))
        reporting.wait(minutes=2)
        assert reporting.report().pending == 1, "the first call is still running there"
        after_the_second = reporting.rows()
        assert slow.result().pending == 1
    assert reporting.rows() == after_the_second


@pytest.mark.parametrize("applied", [True, False])
def test_a_reporter_killed_between_the_call_and_its_record_is_taken_over(reporting: Reporting, applied: bool) -> None:
    reporting.close(100)
    hang = FaultKind.HANG_AFTER if applied else FaultKind.HANG_BEFORE
    reporting.standin.inject(hang, path=EVENTS, seconds=1)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _REPORT,
            reporting.ledger.database.url,
            str(reporting.stripe._api_base),
            reporting.standin.api_key,
            reporting.clock.now().isoformat(),
        ]
    )
    wait_until(lambda: bool(reporting.counted() if applied else reporting.sent()))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert reporting.states() == ["sending"]
    assert reporting.report().sent == 0, "it may still be running, for all that anybody knows"
    reporting.wait(minutes=2)
    time.sleep(0 if applied else 1)  # until the abandoned call has ended at Stripe too
    assert reporting.report().acknowledged == 1
    assert reporting.counted() == 100
    assert reporting.invoice_status() == ["finalized"]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_goes_wrong_in_whatever_order_stripe_counts_what_is_owed(ledger: Ledger, seed: int) -> None:
    chance = random.Random(seed)
    clock = FrozenClock(DECEMBER + timedelta(minutes=5))
    standin = StripeStandIn(clock, rules=Rules(summaries_lag=timedelta(minutes=chance.choice([0, 20]))), seed=str(seed))
    standin.add_customer(CUSTOMER)
    standin.add_meter("ai_tokens")
    usage = [chance.choice([1, 7, 7, 100, 100, 999]) for _ in range(chance.randrange(2, 6))]
    with standin.serve() as server:
        stripe = StripePayments(standin.api_key, api_base=server.url, timeout_seconds=0.2)
        reporting = Reporting(ledger, standin, stripe, clock)
        reporting.close(*usage)
        for _ in range(chance.randrange(4, 10)):
            standin.inject(chance.choice(list(FaultKind)), times=chance.randrange(1, 4), seconds=0.3)
            reporting.report(insist=chance.random() < 0.2)
            reporting.wait(minutes=chance.choice([0.2, 5, 45, 60 * 23, 60 * 30]))
            if chance.random() < 0.5:
                standin.clear_faults()
        standin.clear_faults()
        time.sleep(0.3)  # calls that were given up may still be under way there
        for _ in range(12):
            reporting.wait(minutes=45)
            reporting.report()

    assert set(reporting.states()) == {"acknowledged"}
    assert reporting.counted() == sum(usage)
    assert reporting.invoice_status() == ["finalized"]
