"""Telling Stripe by the day or the hour: earlier, and the same totals to the last token."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import get_args

import pytest

from integration.closing.ledger import CENT, DECEMBER, NOVEMBER
from integration.reporting.conftest import CUSTOMER, Reporting
from tollkeeper.domain.window import Cadence
from tollkeeper.services.reversing import reverse
from tollkeeper.services.windowing import enter_windows
from tollkeeper.testing import FaultKind

GRACE = timedelta(minutes=5)
EVENTS = "/v1/billing/meter_events"


@pytest.fixture
def open_period(reporting: Reporting) -> Reporting:
    """Ada on a plan of a cent a token, at the beginning of November."""
    reporting.ledger.plan(CENT)
    reporting.ledger.customer("ada", stripe=CUSTOMER)
    reporting.clock.set(NOVEMBER)
    return reporting


def sweep(reporting: Reporting, cadence: Cadence) -> int:
    """What the worker does now and then."""
    entered = enter_windows(reporting.ledger.database, now=reporting.clock.now(), cadence=cadence, grace=GRACE)
    reporting.report()
    return entered


def use(reporting: Reporting, tokens: int, at: datetime) -> None:
    reporting.ledger.use(tokens_in=tokens, at=at, stored=max(at, reporting.clock.now()))


def hours(n: float) -> datetime:
    return NOVEMBER + timedelta(hours=n)


def told(reporting: Reporting) -> list[tuple[datetime, int, int]]:
    return [
        (row["timestamp"], row["revision"], int(row["value"]))
        for row in sorted(reporting.rows(), key=lambda row: row["revision"])
    ]


def test_an_hour_is_told_once_it_is_over_and_the_grace_has_passed(open_period: Reporting) -> None:
    use(open_period, 70, hours(0.5))
    use(open_period, 30, hours(1.25))
    open_period.clock.set(hours(1) + GRACE - timedelta(seconds=1))
    assert sweep(open_period, "hour") == 0
    open_period.clock.set(hours(1) + GRACE)
    assert sweep(open_period, "hour") == 1
    assert sweep(open_period, "hour") == 0
    assert told(open_period) == [(hours(1) - timedelta(seconds=1), 1, 70)]
    [event] = open_period.standin.meter_events()
    assert event["timestamp"] == int(hours(1).timestamp()) - 1
    assert (event["payload"]["value"], event["identifier"]) == ("70", "ada:20261101T000000Z:gpt-4o:input:r1")
    assert open_period.rows()[0]["invoice_id"] is None


def test_a_day_holds_the_hours_of_a_utc_day(open_period: Reporting) -> None:
    use(open_period, 70, hours(0.5))
    use(open_period, 30, hours(23.99))
    use(open_period, 5, hours(24))
    open_period.clock.set(hours(24) + GRACE)
    sweep(open_period, "day")
    assert told(open_period) == [(hours(24) - timedelta(seconds=1), 1, 100)]


def test_an_hour_without_usage_is_not_told(open_period: Reporting) -> None:
    use(open_period, 70, hours(0.5))
    use(open_period, 30, hours(3.5))
    open_period.clock.set(hours(4) + GRACE)
    sweep(open_period, "hour")
    stamps = [(hours(1) - timedelta(seconds=1), 1, 70), (hours(4) - timedelta(seconds=1), 2, 30)]
    assert told(open_period) == stamps


def test_what_comes_late_into_an_hour_is_one_more_revision_stamped_in_it(open_period: Reporting) -> None:
    use(open_period, 70, hours(0.5))
    open_period.clock.set(hours(1) + GRACE)
    sweep(open_period, "hour")
    use(open_period, 7, hours(0.25))
    use(open_period, 20, hours(1.5))
    open_period.clock.set(hours(2) + GRACE)
    sweep(open_period, "hour")
    first, second = hours(1) - timedelta(seconds=1), hours(2) - timedelta(seconds=1)
    assert told(open_period) == [(first, 1, 70), (first, 2, 7), (second, 3, 20)]


def test_what_was_taken_back_is_told_below_zero(open_period: Reporting) -> None:
    use(open_period, 70, hours(0.5))
    event = open_period.ledger.use(tokens_in=30, at=hours(0.6), stored=hours(0.6))
    open_period.clock.set(hours(1) + GRACE)
    sweep(open_period, "hour")
    reverse(open_period.ledger.database, event.id, now=open_period.clock.now(), by="eve", reason="mistake")
    open_period.clock.set(hours(2) + GRACE)
    sweep(open_period, "hour")
    assert [value for _, _, value in told(open_period)] == [100, -30]
    assert open_period.counted() == 70


def test_the_close_completes_what_the_hours_have_told(open_period: Reporting) -> None:
    use(open_period, 70, hours(0.5))
    open_period.clock.set(hours(1) + GRACE)
    sweep(open_period, "hour")
    use(open_period, 4, hours(0.75))
    use(open_period, 30, DECEMBER - timedelta(minutes=1))
    open_period.clock.set(DECEMBER + GRACE)
    assert sweep(open_period, "hour") == 0, "the period is over, the rest is the close's"
    open_period.ledger.close(now=open_period.clock.now())
    open_period.report()
    assert told(open_period)[-1] == (DECEMBER - timedelta(seconds=1), 2, 34)
    assert open_period.counted() == 104
    assert open_period.invoice_status() == ["finalized"]
    [invoice] = open_period.ledger.invoices()
    assert {row["invoice_id"] for row in open_period.rows()} == {invoice["id"]}


def test_an_invoice_is_not_final_before_its_hours_are_acknowledged(open_period: Reporting) -> None:
    use(open_period, 70, hours(0.5))
    open_period.clock.set(hours(1) + GRACE)
    open_period.standin.inject(FaultKind.DROP_BEFORE, path=EVENTS, times=99)
    sweep(open_period, "hour")
    open_period.clock.set(DECEMBER + GRACE)
    open_period.ledger.close(now=open_period.clock.now())
    assert open_period.invoice_status() == ["draft"]
    open_period.standin.clear_faults()
    open_period.report()
    assert open_period.invoice_status() == ["finalized"]


def test_a_period_of_which_stripe_has_heard_is_priced_by_stripe_whatever_the_plan_says_since(
    open_period: Reporting,
) -> None:
    use(open_period, 70, hours(0.5))
    open_period.clock.set(hours(1) + GRACE)
    sweep(open_period, "hour")
    open_period.ledger.plan(CENT.replace('currency = "usd"', 'currency = "usd"\ncollect = "invoices"'))
    use(open_period, 30, hours(5))
    open_period.clock.set(DECEMBER + GRACE)
    assert sweep(open_period, "hour") == 0
    open_period.ledger.close(now=open_period.clock.now())
    [invoice] = open_period.ledger.invoices()
    assert invoice["collect"] == "meters"
    open_period.report()
    assert open_period.counted() == 100


def test_a_month_of_silence_is_made_up_for_hour_by_hour(open_period: Reporting) -> None:
    for n in range(10):
        use(open_period, n + 1, hours(48 * n + 0.5))
    open_period.clock.set(NOVEMBER + timedelta(days=25))
    sweep(open_period, "hour")
    stamps = [(hours(48 * n + 1) - timedelta(seconds=1), n + 1, n + 1) for n in range(10)]
    assert told(open_period) == stamps


def test_windows_are_cut_by_a_period_that_begins_within_one(reporting: Reporting) -> None:
    anchor = datetime(2026, 11, 1, 14, 37, 5, tzinfo=UTC)
    reporting.ledger.plan(CENT.replace('"usd"', '"usd"\ninterval = "anniversary"'))
    reporting.ledger.customer(since=anchor, anchor=anchor, stripe=CUSTOMER)
    reporting.clock.set(anchor)
    use(reporting, 70, anchor)
    use(reporting, 30, anchor + timedelta(minutes=22, seconds=55))
    reporting.clock.set(anchor + timedelta(hours=2))
    sweep(reporting, "hour")
    three = datetime(2026, 11, 1, 15, tzinfo=UTC)
    assert told(reporting) == [
        (three - timedelta(seconds=1), 1, 70),
        (three + timedelta(minutes=59, seconds=59), 2, 30),
    ]


@pytest.mark.parametrize("cadence", get_args(Cadence))
@pytest.mark.parametrize("seed", range(2))
def test_the_same_total_arrives_whatever_the_cadence(open_period: Reporting, cadence: Cadence, seed: int) -> None:
    chance = random.Random(seed)
    now, events, total = NOVEMBER, [], 0
    while now < DECEMBER:
        now += timedelta(hours=chance.choice([1, 30, 90]))
        at = min(NOVEMBER + (now - NOVEMBER) * chance.uniform(0.5, 1), DECEMBER - timedelta(seconds=1))
        tokens, minutes = chance.randrange(1, 100), Decimal(chance.randrange(1, 9)) / 4
        open_period.clock.set(min(now, DECEMBER))
        events.append(open_period.ledger.use(tokens_in=tokens, compute_minutes=minutes, at=at, stored=now))
        total += tokens
        if chance.random() < 0.2:
            event = events.pop(chance.randrange(len(events)))
            reverse(open_period.ledger.database, event.id, now=now, by="eve", reason="mistake")
            total -= event.usage.tokens_in
        sweep(open_period, chance.choice(["hour", "day"]) if cadence != "period" and seed else cadence)
        open_period.wait(minutes=1)
        open_period.report()
    open_period.clock.set(DECEMBER + timedelta(minutes=20))
    open_period.ledger.close(now=open_period.clock.now())
    open_period.report()
    assert open_period.counted() == total
    assert open_period.invoice_status() == ["finalized"]
    assert sum(int(row["value"]) for row in open_period.rows()) == total
