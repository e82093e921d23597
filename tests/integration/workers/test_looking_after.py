"""What looks after itself: heartbeats, alarms about what waits too long, the daily comparison, and doctor's view of them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from integration.closing.ledger import CENT, DECEMBER, Ledger
from integration.money.terminal import Terminal
from tollkeeper.services.beating import all_heartbeats, say_alive
from tollkeeper.services.proving import last_proof, prove_daily
from tollkeeper.services.watching import watch
from tollkeeper.testing import FrozenClock

MORNING = DECEMBER + timedelta(hours=6)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(MORNING)


@pytest.fixture
def books(ledger: Ledger) -> Ledger:
    """Three customers with a closed November, and one period each that is open."""
    ledger.plan(CENT)
    for user_id in ("ada", "bob", "eve"):
        ledger.customer(user_id, stripe=f"cus_{user_id}")
        ledger.use(user_id, tokens_in=100)
    ledger.close()
    for user_id in ("ada", "bob", "eve"):
        ledger.use(user_id, tokens_in=10, at=DECEMBER + timedelta(hours=1))
    return ledger


def alarms(ledger: Ledger) -> list[str]:
    rows = ledger.rows("SELECT payload FROM notices WHERE kind = 'alarm.raised' ORDER BY created_at, subject")
    return [row["payload"]["text"] for row in rows]


def test_a_process_is_remembered_by_its_last_sign_of_life_and_forgotten_after_a_week(books: Ledger) -> None:
    say_alive(books.database, "celery@one", "worker", MORNING)
    say_alive(books.database, "celery@one", "worker", MORNING + timedelta(seconds=30), worked=True)
    say_alive(books.database, "celery@one", "worker", MORNING + timedelta(seconds=60))
    [beat] = all_heartbeats(books.database)
    assert (beat.process, beat.role) == ("worker celery@one", "worker")
    assert (beat.alive_at, beat.worked_at) == (MORNING + timedelta(seconds=60), MORNING + timedelta(seconds=30))
    say_alive(books.database, "two", "beat", MORNING + timedelta(days=8))
    assert [one.process for one in all_heartbeats(books.database)] == ["beat two"]


def test_everything_is_compared_once_a_day_and_not_twice(books: Ledger, clock: FrozenClock) -> None:
    assert prove_daily(books.database, None, clock) == 6
    assert prove_daily(books.database, None, clock) == 0
    clock.advance(timedelta(hours=23, minutes=59))
    assert prove_daily(books.database, None, clock) == 0
    clock.advance(timedelta(minutes=1))
    assert prove_daily(books.database, None, clock) == 6
    run = last_proof(books.database)
    assert run is not None
    assert (run.periods, run.differing, run.ended_at) == (6, 0, clock.now())
    assert alarms(books) == []


def test_a_run_whose_time_is_up_goes_on_where_it_stopped(
    books: Ledger, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tollkeeper.services.reconciling._PAGE", 2)
    pages = [prove_daily(books.database, None, clock, budget_seconds=0) for _ in range(5)]
    assert pages == [2, 2, 2, 0, 0]  # the last page is found to be empty
    run = last_proof(books.database)
    assert run is not None
    assert run.periods == 6


def test_what_is_found_is_kept_shown_and_an_alarm(books: Ledger, clock: FrozenClock) -> None:
    books.run("""UPDATE usage_periods SET totals = '{"gpt-4o": {"input": 99, "requests": 1}}' WHERE user_id = 'bob'""")
    books.run(
        "UPDATE invoice_line_items SET quantity = 7 WHERE invoice_id IN (SELECT id FROM invoices WHERE user_id = 'eve')"
    )
    prove_daily(books.database, None, clock)
    run = last_proof(books.database)
    assert run is not None
    assert run.differing >= 2
    assert any(line.startswith("bob 2026-11-01: ") for line in run.differences)
    [alarm] = alarms(books)
    assert alarm.startswith(f"reconciling found {run.differing} differences, the first: bob 2026-11-01")

    terminal = Terminal(books, MORNING)
    checks = {check["name"]: check for check in terminal.json("doctor", exit_code=1)["checks"]}
    assert f"{run.differing} differences" in checks["reconciling"]["detail"]


def test_reports_that_stripe_does_not_take_are_an_alarm_after_45_minutes_and_one_alarm(books: Ledger) -> None:
    closed_at = DECEMBER + timedelta(minutes=5)
    assert watch(books.database, closed_at + timedelta(minutes=44), grace_seconds=300) == []
    for minutes in (45, 50, 90):
        [text] = watch(books.database, closed_at + timedelta(minutes=minutes), grace_seconds=300)
    assert text == "3 reports to Stripe wait, the oldest since 2026-12-01 00:05 UTC"
    assert alarms(books) == [text]


def test_periods_that_nobody_closes_are_an_alarm(books: Ledger) -> None:
    books.run("UPDATE stripe_reports SET state = 'confirmed'")
    end = DECEMBER + timedelta(days=31)
    assert watch(books.database, end + timedelta(minutes=64), grace_seconds=300) == []
    [text] = watch(books.database, end + timedelta(minutes=65), grace_seconds=300)
    assert text == "3 periods that are over are not closed, the oldest since 2027-01-01 00:00 UTC"


def test_many_parked_periods_are_a_few_alarms(ledger: Ledger) -> None:
    ledger.plan(CENT)
    for n in range(9):
        ledger.customer(f"user-{n}")
        ledger.use(f"user-{n}", tokens_in=100)
    ledger.run("UPDATE usage_periods SET events = 7")
    later = DECEMBER + timedelta(minutes=6)
    assert ledger.close(now=later, grace=300, as_of=later).parked == 9
    told = alarms(ledger)
    assert len(told) == 5
    assert sum("5 more periods are parked" in text for text in told) == 1


def test_doctor_shows_how_long_things_wait_and_who_is_alive(books: Ledger) -> None:
    clock = FrozenClock(MORNING)
    prove_daily(books.database, None, clock)
    say_alive(books.database, "host 1", "beat", MORNING - timedelta(seconds=20))
    say_alive(books.database, "celery@host", "worker", MORNING - timedelta(minutes=20), worked=True)
    terminal = Terminal(books, MORNING)
    checks = {check["name"]: check for check in terminal.json("doctor", exit_code=1)["checks"]}  # Redis is not there
    found = {
        name: (checks[name]["state"], checks[name]["detail"]) for name in ("outbox", "beat", "worker", "reconciling")
    }
    assert found == {
        "outbox": ("warning", "3 reports to Stripe, the oldest for 5 h"),
        "beat": ("ok", "1 alive, last heard of 20 s ago"),
        "worker": ("warning", "0 alive, work was done 20 min ago"),
        "reconciling": ("ok", "6 periods compared 0 s ago, no difference"),
    }
