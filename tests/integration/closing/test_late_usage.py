"""Usage that comes after the close: nothing of it is lost, nothing billed twice, and no closed invoice changes."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, TIERED, WITH_FEE, Ledger
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.domain.pricing import rate
from tollkeeper.services.closing import ClosingSummary
from tollkeeper.storage.totals import totals_from_json

FEBRUARY = datetime(2027, 2, 1, tzinfo=UTC)
LATE = DECEMBER + timedelta(days=3)

# All units at 10 cents up to 100, all of them at 1 cent beyond: one more unit can make the bill fall.
VOLUME = """
[plans.volume]
name = "Volume"
currency = "usd"
[[plans.volume.prices]]
model = "*"
token_type = "*"
tiers_mode = "volume"
tiers = [{ up_to = 100, price = "0.10" }, { up_to = "inf", price = "0.01" }]
"""


def test_late_usage_is_rated_with_what_was_billed_and_stands_on_the_next_invoice(ledger: Ledger) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    ledger.use(tokens_in=80_000)
    ledger.close()
    ledger.use(tokens_in=1_020_000, stored=LATE)
    ledger.use(tokens_in=10, at=DECEMBER)

    assert ledger.close(as_of=JANUARY) == ClosingSummary(closed=1, invoices=1, already=1)

    assert ledger.lines() == [
        ("usage", "gpt-4o*", "*", Decimal(80_000), 0),
        ("usage", "gpt-4o*", "*", Decimal(10), 0),
        # 1,100,000 in all: 20,000 more free ones, 900,000 at 0.3 cents and 100,000 at 0.2 cents for 1,000.
        ("late_usage", "gpt-4o*", "*", Decimal(20_000), 0),
        ("late_usage", "gpt-4o*", "*", Decimal(900_000), 270),
        ("late_usage", "gpt-4o*", "*", Decimal(100_000), 20),
    ]
    november, december = ledger.invoices()
    assert (november["total_amount"], december["total_amount"]) == (0, 290)
    spans = ledger.rows("SELECT DISTINCT period_start, period_end FROM invoice_line_items WHERE kind = 'late_usage'")
    assert spans == [{"period_start": NOVEMBER, "period_end": DECEMBER}]


def test_a_closed_invoice_never_changes(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=5)
    ledger.close()
    before = ledger.invoices(), ledger.lines()
    ledger.use(tokens_in=7, stored=LATE)
    ledger.close()
    assert (ledger.invoices(), ledger.lines()) == before


def test_late_usage_makes_an_invoice_by_itself_where_the_next_period_has_nothing_else(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=5)
    ledger.close()
    ledger.use(tokens_in=7, stored=LATE)
    assert ledger.close(as_of=JANUARY - timedelta(seconds=1)) == ClosingSummary(already=1)
    assert ledger.close(as_of=JANUARY) == ClosingSummary(closed=1, invoices=1, already=1)
    assert ledger.close(as_of=FEBRUARY) == ClosingSummary(already=2)
    assert ledger.lines()[1:] == [("late_usage", "*", "*", Decimal(7), 7)]


def test_usage_that_is_late_twice_is_billed_twice_and_each_only_once(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=5)
    ledger.close()
    ledger.use(tokens_in=7, stored=LATE)
    ledger.close(as_of=JANUARY)
    ledger.use(tokens_in=11, stored=JANUARY + timedelta(days=3))
    ledger.close(as_of=FEBRUARY)
    assert [invoice["total_amount"] for invoice in ledger.invoices()] == [5, 7, 11]


def test_usage_of_a_month_nobody_had_closed_yet_is_no_late_usage(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=5, at=DECEMBER)
    ledger.close(as_of=JANUARY)
    ledger.use(tokens_in=7, stored=JANUARY)
    assert ledger.close(as_of=JANUARY) == ClosingSummary(closed=1, invoices=1, already=1)
    assert [(i["period_start"], i["total_amount"]) for i in ledger.invoices()] == [(NOVEMBER, 7), (DECEMBER, 5)]


def test_a_late_request_that_used_nothing_leaves_no_trace_on_an_invoice(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=5)
    ledger.close()
    ledger.use(stored=LATE)
    ledger.close(as_of=JANUARY)
    assert [invoice["total_amount"] for invoice in ledger.invoices()] == [5]
    assert ledger.close(as_of=FEBRUARY) == ClosingSummary(already=2)


def test_the_base_fee_is_not_late_usage(ledger: Ledger) -> None:
    ledger.plan(WITH_FEE)
    ledger.customer(plan="fee")
    ledger.close()
    ledger.use(tokens_in=7, stored=LATE)
    ledger.close(as_of=JANUARY)
    assert ledger.lines()[1:] == [
        ("base_fee", None, None, Decimal(1), 9900),
        ("late_usage", "*", "*", Decimal(7), 7),
    ]


def test_a_close_of_earlier_periods_makes_no_room_for_late_usage_of_later_ones(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=5)
    ledger.close()
    ledger.use(tokens_in=7, stored=LATE)
    ledger.close(as_of=NOVEMBER, now=LATE)
    assert [row["period_start"] for row in ledger.rows("SELECT period_start FROM usage_periods")] == [NOVEMBER]


class TestATotalBelowZero:
    def test_is_carried_forward_until_invoices_have_used_it_up(self, ledger: Ledger) -> None:
        ledger.plan(VOLUME)
        ledger.customer(plan="volume")
        ledger.use(tokens_in=100)  # 100 x 10 cents
        ledger.close()
        ledger.use(tokens_in=1, stored=LATE)  # 101 x 1 cent: 899 cents too much were billed
        ledger.use(tokens_in=20, at=DECEMBER)  # 200 cents
        ledger.close(as_of=JANUARY)
        ledger.use(tokens_in=90, at=JANUARY)  # 900 cents, of which 699 are paid for
        ledger.close(as_of=FEBRUARY)

        assert ledger.lines() == [
            ("usage", "*", "*", Decimal(100), 1000),
            ("usage", "*", "*", Decimal(20), 200),
            ("late_usage", "*", "*", Decimal(101), 101),
            ("late_usage", "*", "*", Decimal(-100), -1000),
            ("credit", None, None, Decimal(1), 699),
            ("usage", "*", "*", Decimal(90), 900),
            ("credit", None, None, Decimal(1), -699),
        ]
        assert [(i["total_amount"], i["carried"]) for i in ledger.invoices()] == [(1000, 0), (0, 699), (201, -699)]

    def test_is_used_up_once_by_two_periods_that_are_closed_together(self, ledger: Ledger) -> None:
        ledger.plan(VOLUME)
        ledger.customer(plan="volume")
        ledger.use(tokens_in=100)
        ledger.close()
        ledger.use(tokens_in=1, stored=LATE)
        for month in (DECEMBER, JANUARY, FEBRUARY):
            ledger.use(tokens_in=45, at=month)
        ledger.close(as_of=datetime(2027, 3, 1, tzinfo=UTC))
        # 450 - 899 = -449, then 450 - 449 = 1, then 450.
        assert [i["total_amount"] for i in ledger.invoices()] == [1000, 0, 1, 450]


class TestAtStripe:
    def reports(self, ledger: Ledger) -> list[tuple[int, str, int]]:
        rows = ledger.rows("SELECT * FROM stripe_reports ORDER BY period_start, revision, token_type")
        return [(row["revision"], row["token_type"], int(row["value"])) for row in rows]

    def test_what_comes_while_stripes_own_invoice_takes_it_is_one_more_revision(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=5)
        ledger.close(now=DECEMBER + timedelta(minutes=5))
        ledger.use(tokens_in=7, tokens_out=2, stored=DECEMBER + timedelta(minutes=20))
        ledger.close(now=DECEMBER + timedelta(minutes=21))
        ledger.close(now=DECEMBER + timedelta(minutes=22))
        ledger.use(tokens_in=1, stored=DECEMBER + timedelta(minutes=30))
        ledger.close(now=DECEMBER + timedelta(minutes=31))
        assert self.reports(ledger) == [(1, "input", 5), (2, "input", 7), (2, "output", 2), (3, "input", 1)]

        ledger.close(as_of=JANUARY)
        assert [(i["total_amount"], i["alarm"]) for i in ledger.invoices()] == [(5, None), (10, None)]

    def test_what_comes_after_that_is_an_item_on_stripes_next_invoice(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=5)
        ledger.close()
        ledger.use(tokens_in=7, stored=LATE)
        ledger.close(now=LATE)
        ledger.close(as_of=JANUARY)
        assert self.reports(ledger) == [(1, "input", 5)]
        [items] = ledger.rows("SELECT * FROM collections")
        assert (items["collector"], items["invoice_id"]) == ("stripe_items", ledger.invoices()[1]["id"])
        assert [(line["amount"], line["description"]) for line in items["demand"]["lines"]] == [
            (7, "Late usage of 2026-11-01 to 2026-12-01: *, *: +7")
        ]
        assert [invoice["alarm"] for invoice in ledger.invoices()] == [None, None]

    def test_an_item_says_what_stripe_has_not_priced_by_a_report_or_an_item_before(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=5)
        ledger.close(now=DECEMBER + timedelta(minutes=5))
        ledger.use(tokens_in=7, stored=DECEMBER + timedelta(minutes=20))
        ledger.close(now=DECEMBER + timedelta(minutes=21))
        ledger.use(tokens_in=20, stored=LATE)
        ledger.close(as_of=JANUARY)
        ledger.use(tokens_in=300, stored=JANUARY + timedelta(days=2))
        ledger.close(as_of=FEBRUARY)
        assert self.reports(ledger) == [(1, "input", 5), (2, "input", 7)]
        rows = ledger.rows("SELECT * FROM collections ORDER BY created_at")
        assert [[line["amount"] for line in row["demand"]["lines"]] for row in rows] == [[20], [300]]
        # ours bills the second revision with the next invoice, Stripe has it on the first: in all the same
        assert [invoice["total_amount"] for invoice in ledger.invoices()] == [5, 27, 300]

    def test_what_is_worth_nothing_makes_no_item(self, ledger: Ledger) -> None:
        ledger.plan(
            CENT.replace('price = "0.01"', 'tiers = [{ up_to = 100, price = "0" }, { up_to = "inf", price = "1" }]')
        )
        ledger.customer()
        ledger.use(tokens_in=5)
        ledger.close()
        ledger.use(tokens_in=7, stored=LATE)
        ledger.close(as_of=JANUARY)
        assert ledger.rows("SELECT * FROM collections") == []

    def test_what_waits_for_a_customer_who_has_left_is_an_alarm_too(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=5)
        ledger.close()
        ledger.use(tokens_in=7, stored=LATE)
        ledger.use(tokens_in=1, at=DECEMBER)
        ledger.run("UPDATE customers SET status = 'closed', closed_at = :at", at=DECEMBER + timedelta(days=5))
        ledger.close(as_of=JANUARY)
        alarm = ledger.invoices()[1]["alarm"]
        assert alarm == "the customer has left: invoice at Stripe what waits there"

    def test_where_stripe_prices_nothing_there_is_nothing_to_tell_it(self, ledger: Ledger) -> None:
        ledger.collect = "off"
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=5)
        ledger.close()
        ledger.use(tokens_in=7, stored=DECEMBER + timedelta(minutes=6))
        ledger.close(now=DECEMBER + timedelta(minutes=7))
        ledger.close(as_of=JANUARY)
        assert self.reports(ledger) == []
        assert [invoice["alarm"] for invoice in ledger.invoices()] == [None, None]


def test_late_usage_that_its_events_do_not_bear_out_is_not_billed(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=5)
    ledger.close()
    ledger.use(tokens_in=7, stored=LATE)
    ledger.tamper("UPDATE usage_events SET tokens_in = 8 WHERE revision = 2")
    ledger.use(tokens_in=1, at=DECEMBER)
    ledger.close(as_of=JANUARY)
    assert [invoice["total_amount"] for invoice in ledger.invoices()] == [5, 1]
    assert "gpt-4o input: 13 in the events, 12 in the running totals" in caplog.text


@pytest.mark.parametrize("seed", range(4))
def test_however_late_usage_comes_all_invoices_together_say_what_one_would_have_said(ledger: Ledger, seed: int) -> None:
    chance = random.Random(seed)
    text = chance.choice(
        [TIERED, VOLUME, CENT, VOLUME.replace("usd", "jpy").replace("0.10", "3").replace("0.01", "0.7")]
    )
    [plan] = parse_plans(text)
    ledger.plan(text)
    ledger.customer(plan=plan.id, since=NOVEMBER)
    months = [NOVEMBER, DECEMBER, JANUARY, FEBRUARY, *(datetime(2027, month, 1, tzinfo=UTC) for month in range(3, 9))]
    for closing in range(1, 10):
        for _ in range(chance.randrange(4)):
            month = months[chance.randrange(closing)]
            ledger.use(
                tokens_in=chance.choice([1, 60, 99, 101, 70_000, 950_000]),
                at=month + timedelta(hours=chance.randrange(600)),
                stored=months[closing],
                model=chance.choice(["gpt-4o", "gpt-4o-mini"]),
            )
        ledger.close(as_of=months[closing])
    ledger.use(tokens_in=1, at=months[9])  # whatever waits has an invoice to stand on
    ledger.close(as_of=datetime(2027, 9, 1, tzinfo=UTC))

    rows = ledger.rows("SELECT totals FROM usage_periods")
    expected = sum(rate(plan.tariff, totals_from_json(row["totals"])).usage_amount for row in rows)
    invoices = ledger.invoices()
    assert sum(i["total_amount"] - i["carried"] for i in invoices) == expected
    assert sum(i["carried"] for i in invoices) >= 0
