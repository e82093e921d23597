"""An event that should not have been counted is taken back by a second row; every sum stays exact, and nothing is edited."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, TIERED, Ledger
from integration.closing.test_late_usage import VOLUME
from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage, sum_of_calls
from tollkeeper.services.closing import ClosingSummary
from tollkeeper.services.rating import queue
from tollkeeper.services.reconciling import reconcile
from tollkeeper.services.reversing import Reversed, reverse

LATE = DECEMBER + timedelta(days=3)


def take_back(ledger: Ledger, event: UsageEvent, now: object = LATE) -> Reversed:
    return reverse(ledger.database, event.id, by="eve", reason="charged twice", now=now)  # type: ignore[arg-type]


def sums_agree(ledger: Ledger) -> None:
    found = reconcile(ledger.database, now=JANUARY)
    assert found.ok, [row.differences for row in found.rows]
    for period in ledger.rows(
        "SELECT user_id, period_start, period_end, events, tokens, cost_units FROM usage_periods"
    ):
        [sums] = ledger.rows(
            """
            SELECT coalesce(sum(CASE WHEN reverses IS NULL THEN 1 ELSE -1 END), 0) AS events,
                   coalesce(sum(tokens_in + tokens_out), 0) AS tokens, coalesce(sum(cost_units), 0) AS cost_units
            FROM usage_events WHERE billable AND user_id = :user_id
              AND "timestamp" >= :period_start AND "timestamp" < :period_end
            """,
            **{name: period[name] for name in ("user_id", "period_start", "period_end")},
        )
        assert sums == {name: period[name] for name in sums}


def test_before_the_close_the_event_is_on_no_invoice(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=10)
    event = ledger.use(tokens_in=700, tokens_out=30, cached_tokens_in=100, units={"images": Decimal("2.5")}, model="o1")

    done = take_back(ledger, event)

    assert (done.already, done.cost_units, done.period_status) == (False, Decimal(-730), "open")
    assert ledger.period()["totals"] == {"gpt-4o": {"input": 10, "requests": 1}}
    sums_agree(ledger)
    ledger.close()
    assert ledger.lines() == [("usage", "*", "*", Decimal(10), 10)]
    assert len(ledger.rows("SELECT FROM usage_events")) == 3, "nothing is deleted"
    [naive] = ledger.rows("SELECT sum(tokens_in) AS tokens_in, sum(cost_units) AS cost FROM usage_events")
    assert naive == {"tokens_in": 10, "cost": 10}, "sums in plain SQL need no special case"


def test_after_the_close_the_next_invoice_has_the_difference_below_zero(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=10)
    event = ledger.use(tokens_in=700)
    ledger.close()
    before = ledger.invoices(), ledger.lines()

    take_back(ledger, event)

    ledger.use(tokens_in=1_000, at=DECEMBER)
    ledger.close(as_of=JANUARY)
    assert (ledger.invoices()[:1], ledger.lines()[:1]) == before, "the closed invoice stays"
    assert ledger.lines()[1:] == [
        ("usage", "*", "*", Decimal(1_000), 1_000),
        ("late_usage", "*", "*", Decimal(-700), -700),
    ]
    assert ledger.invoices()[1]["total_amount"] == 300
    sums_agree(ledger)


def test_the_only_event_of_a_billed_period_is_taken_back_to_nothing(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    event = ledger.use(tokens_in=700)
    ledger.close()
    take_back(ledger, event)
    assert ledger.close(as_of=JANUARY) == ClosingSummary(closed=1, invoices=1, already=1)
    assert [(i["total_amount"], i["carried"]) for i in ledger.invoices()] == [(700, 0), (0, 700)]
    sums_agree(ledger)


def test_taking_it_back_twice_takes_it_back_once_and_so_does_asking_four_times_at_once(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=10)
    event = ledger.use(tokens_in=700)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: take_back(ledger, event), range(4)))
    assert sorted(one.already for one in done) == [False, True, True, True]
    assert {one.reversal_id for one in done} == {done[0].reversal_id}
    assert ledger.period()["events"] == 1
    assert len(ledger.rows("SELECT FROM audit_trail WHERE kind = 'event.reversed'")) == 1
    sums_agree(ledger)


def test_what_there_is_nothing_to_take_back_of_is_refused(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    event = ledger.use(tokens_in=700)
    reversal = take_back(ledger, event).reversal_id
    free = replace(event, id=uuid4(), billable=False)
    ledger.store([free], LATE)
    for event_id, error in ((uuid4(), NotFound), (reversal, InvalidInput), (free.id, InvalidInput)):
        with pytest.raises(error):
            reverse(ledger.database, event_id, by="eve", reason="charged twice", now=LATE)


def test_the_id_of_an_event_that_was_taken_back_stays_taken(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    event = ledger.use(tokens_in=700)
    take_back(ledger, event)
    [answer] = ledger.store([event], LATE)
    assert getattr(answer, "status", None) == "duplicate", "a replay does not bring it back"
    assert ledger.period()["events"] == 0


def test_a_request_to_several_models_is_taken_back_whole(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=10)
    calls = [Usage("gpt-4o", 100, 10), Usage("claude", 50, 5), Usage("gpt-4o", 1, 1)]
    event = UsageEvent(uuid4(), "ada", NOVEMBER, sum_of_calls(calls))
    ledger.store([event], NOVEMBER)
    assert take_back(ledger, event).cost_units == -167
    assert ledger.period()["totals"] == {"gpt-4o": {"input": 10, "requests": 1}}
    sums_agree(ledger)


def test_a_new_price_for_the_open_period_finds_reversals_in_their_place(ledger: Ledger) -> None:
    ledger.plan(VOLUME)
    ledger.customer(plan="volume")
    ledger.use(tokens_in=60)
    event = ledger.use(tokens_in=70)
    take_back(ledger, event, now=event.timestamp)
    ledger.plan(VOLUME.replace('"0.10"', '"0.20"'), now=NOVEMBER + timedelta(days=20), immediate=True)
    assert (ledger.period()["cost_units"], ledger.period()["spent"]) == (1200, 1200)
    sums_agree(ledger)


def test_usage_without_a_price_that_was_taken_back_waits_for_none(ledger: Ledger) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    take_back(ledger, ledger.use(tokens_in=5, model="mystery"))
    assert queue(ledger.database) == []


def test_what_stripe_was_told_of_before_is_taken_off_its_next_invoice(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=10)
    event = ledger.use(tokens_in=700)
    ledger.close()
    ledger.run("UPDATE stripe_reports SET state = 'acknowledged'")
    take_back(ledger, event)
    ledger.use(tokens_in=1_000, at=DECEMBER)
    ledger.close(as_of=JANUARY)
    [items] = ledger.rows("SELECT * FROM collections")
    assert [line["amount"] for line in items["demand"]["lines"]] == [-700]
    [november, _] = reconcile(ledger.database, now=JANUARY).rows
    assert november.differences == []
    assert "700 were reported and taken back since; an item takes them off Stripe's next invoice" in november.notes


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE usage_events SET tokens_in = 1",
        "UPDATE usage_events SET billable = false",
        """UPDATE usage_events SET "timestamp" = "timestamp" + interval '1 second'""",
        "DELETE FROM usage_events",
    ],
)
def test_the_database_lets_nobody_edit_or_delete_an_event(ledger: Ledger, statement: str) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=10)
    with pytest.raises(IntegrityError, match="append-only"):
        ledger.run(statement)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_taken_back_whenever_all_invoices_say_what_is_left(ledger: Ledger, seed: int) -> None:
    chance = random.Random(seed)
    text = chance.choice([TIERED, VOLUME, CENT])
    ledger.plan(text)
    ledger.customer(plan={TIERED: "tiered", VOLUME: "volume", CENT: "cent"}[text])
    kept = 0
    events: list[UsageEvent] = []
    for now in (NOVEMBER, LATE, JANUARY + timedelta(days=3)):
        for _ in range(6):
            tokens = chance.choice([1, 60, 99, 101, 70_000, 950_000])
            events.append(ledger.use(tokens_in=tokens, at=NOVEMBER, stored=now))
            kept += tokens
        for event in chance.sample(events, 2):
            kept -= 0 if take_back(ledger, event, now=now).already else event.usage.tokens_in
        ledger.close(as_of={NOVEMBER: DECEMBER, LATE: JANUARY}.get(now, JANUARY + timedelta(days=31)))
    ledger.use(tokens_in=0, at=NOVEMBER)
    assert ledger.period()["tokens"] == kept
    sums_agree(ledger)
    invoices = ledger.invoices()
    assert sum(i["total_amount"] - i["carried"] for i in invoices) == ledger.period()["spent"]
