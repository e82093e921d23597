"""Reconciling: it sees every difference there can be, and takes nothing that is merely on its way for one."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, TIERED, WITH_FEE, Ledger
from integration.reporting.conftest import CUSTOMER, Reporting
from tollkeeper.services.reconciled import ReconciledPeriod
from tollkeeper.services.reconciling import Reconciliation, reconcile


def seen(reporting: Reporting) -> Reconciliation:
    return reconcile(reporting.ledger.database, reporting.stripe, now=reporting.clock.now())


def only(found: Reconciliation) -> ReconciledPeriod:
    [row] = found.rows
    return row


def test_everything_agrees_from_the_first_event_to_stripes_own_sum(reporting: Reporting) -> None:
    ledger = reporting.ledger
    ledger.plan(TIERED)
    ledger.customer(plan="tiered", stripe=CUSTOMER)
    ledger.use(tokens_in=700_000, tokens_out=500_000, cached_tokens_in=10, units={"songs": Decimal("1.5")})

    row = only(seen(reporting))
    assert (row.ok, row.status, row.notes) == (True, "open", ["over, and not closed yet"])
    assert (row.tokens_in_events, row.tokens_in_totals, row.tokens_billed) == (1_200_000, 1_200_000, 0)

    ledger.close(now=reporting.clock.now())
    row = only(seen(reporting))
    assert (row.ok, row.notes) == (True, ["3 reports are not acknowledged yet"])

    reporting.report()
    found = seen(reporting)
    row = only(found)
    assert found.ok
    assert (row.tokens_billed, row.tokens_reported) == (1_200_000, 1_200_000)
    assert row.tokens_at_stripe == Decimal(1_200_000)
    # 900,000 at 0.3 cents and 200,000 at 0.2 cents for 1,000.
    assert (row.amount_billed, row.currency, row.notes, row.differences) == (310, "usd", [], [])


def test_late_usage_is_shown_as_pending_and_is_no_difference(reporting: Reporting) -> None:
    reporting.close(100)
    reporting.report()
    reporting.wait(days=2)
    reporting.ledger.use(tokens_in=7, model="model-0", stored=reporting.clock.now())
    row = only(seen(reporting))
    assert (row.ok, row.tokens_late, row.notes) == (True, 7, ["late usage waits for the next invoice"])

    reporting.clock.set(JANUARY + timedelta(minutes=5))
    reporting.ledger.close(as_of=JANUARY)
    november, december = seen(reporting).rows
    assert (november.ok, november.tokens_late, november.amount_billed) == (True, 0, 107)
    assert november.notes == []
    assert december.ok
    assert len(december.notes) == 1
    assert december.notes[0].startswith("late usage on invoice")
    assert december.amount_to_collect == 7


def test_base_fees_and_discounts_are_no_differences(ledger: Ledger) -> None:
    ledger.plan(WITH_FEE.replace('base_fee = "99.00"', 'base_fee = "99.00"\ndiscount_percent = "10"\nminimum = "5.00"'))
    ledger.customer(plan="fee")
    ledger.use(tokens_in=3_000)
    ledger.close(as_of=JANUARY)
    found = reconcile(ledger.database, now=JANUARY)
    assert [row.differences for row in found.rows] == [[], []]
    assert [row.amount_billed for row in found.rows] == [2700, 500]


def test_usage_that_comes_in_meanwhile_is_no_difference(ledger: Ledger) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ledger.plan(CENT)
    ledger.customer()
    with ThreadPoolExecutor(1) as pool:
        traffic = pool.submit(lambda: [ledger.use(tokens_in=1) for _ in range(40)])
        while not traffic.done():
            assert reconcile(ledger.database, now=NOVEMBER).ok


class TestDifferences:
    @pytest.mark.parametrize(
        ("damage", "expected"),
        [
            ("DELETE FROM usage_events", "0 events, 1 in the running totals"),
            (
                "UPDATE usage_events SET tokens_in = 101",
                "model-0 input: 101 in the events, 100 in the running totals",
            ),
            (
                """UPDATE usage_periods SET billed_totals = '{"model-0": {"input": 99, "requests": 1}}'""",
                "model-0 input: 100 in the events, 99 in the running totals",
            ),
            (
                "UPDATE invoice_line_items SET amount = 99",
                "the lines of invoice {invoice} add up to 99, its total is 100",
            ),
            ("UPDATE invoice_line_items SET quantity = 1", "* *: 100 for 100 by the totals, 1 for 100 on invoices"),
            ("DELETE FROM invoice_line_items", "* *: 100 for 100 by the totals, 0 for 0 on invoices"),
            ("UPDATE stripe_reports SET value = 99", "model-0 input: 1 were billed and are in no report"),
            ("UPDATE stripe_reports SET value = 105", "5 more were reported than were used"),
            ("DELETE FROM stripe_reports", "model-0 input: 100 were billed and are in no report"),
            ("UPDATE stripe_reports SET state = 'rejected'", "Stripe rejects 1 reports"),
            ("UPDATE usage_periods SET status = 'parked', parked_reason = 'why'", "parked: why"),
        ],
    )
    def test_each_kind_of_damage_is_named(self, reporting: Reporting, damage: str, expected: str) -> None:
        reporting.close(100)
        [invoice] = reporting.ledger.invoices()
        assert reporting.ledger.tamper(damage) == 1
        found = reconcile(reporting.ledger.database, now=reporting.clock.now())
        assert not found.ok
        assert expected.format(invoice=invoice["id"]) in only(found).differences

    def test_an_event_that_lies_in_no_period_is_a_stray(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=1)
        ledger.run("DELETE FROM usage_periods")
        found = reconcile(ledger.database, now=NOVEMBER)
        assert (found.ok, found.strays) == (False, {"ada": 1})

    def test_a_sum_of_stripes_that_is_short_or_over(self, reporting: Reporting) -> None:
        reporting.close(100)
        reporting.report()
        reporting.ledger.run("UPDATE stripe_reports SET value = 90")
        assert "Stripe counts 100 ai_tokens, 90 were acknowledged" in only(seen(reporting)).differences
        reporting.ledger.run("UPDATE stripe_reports SET value = 110")
        assert "Stripe counts 100 ai_tokens, 110 were acknowledged" in only(seen(reporting)).differences

    def test_a_stripe_that_does_not_answer(self, reporting: Reporting) -> None:
        reporting.close(100)
        reporting.report()
        reporting.standin.inject("drop_before", times=9)
        [difference] = only(seen(reporting)).differences
        assert difference.startswith("Stripe's sum of ai_tokens is not known")


def test_nothing_is_changed_by_looking(reporting: Reporting) -> None:
    reporting.close(100)
    reporting.report()
    tables = ("usage_periods", "invoices", "invoice_line_items", "stripe_reports", "usage_events")
    before = [reporting.ledger.rows(f"SELECT * FROM {table}") for table in tables]
    seen(reporting)
    assert [reporting.ledger.rows(f"SELECT * FROM {table}") for table in tables] == before


def test_many_customers_are_all_looked_at(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tollkeeper.services.reconciling._PAGE", 3)
    ledger.plan(CENT)
    for n in range(7):
        ledger.customer(f"user-{n}")
        ledger.use(f"user-{n}", tokens_in=n)
    ledger.close()
    found = reconcile(ledger.database, now=DECEMBER)
    assert [row.tokens_billed for row in found.rows] == list(range(7))


def test_reports_that_wait_for_long_are_an_alarm(reporting: Reporting) -> None:
    reporting.close(100, stripe=None)
    reporting.clock.set(DECEMBER + timedelta(minutes=44))
    assert only(seen(reporting)).notes == ["1 reports are not acknowledged yet"]
    reporting.clock.set(DECEMBER + timedelta(minutes=45))
    alarm = "alarm: 1 reports have not been acknowledged for 45 minutes"
    assert only(seen(reporting)).notes == ["1 reports are not acknowledged yet", alarm]
