"""The close: what it freezes, what it bills, what it owes Stripe, and what it leaves alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, TIERED, WITH_FEE, Ledger
from tollkeeper.services.closing import ClosingSummary

INSTANT = timedelta(microseconds=1)


def test_a_period_that_is_over_becomes_one_draft_whose_lines_add_up(ledger: Ledger) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    ledger.use(tokens_in=700_000, tokens_out=100_000)
    ledger.use(tokens_in=400_000, tokens_out=50_000, model="gpt-4o-mini")

    assert ledger.close() == ClosingSummary(closed=1, invoices=1)

    [invoice] = ledger.invoices()
    assert (invoice["status"], invoice["revision"], invoice["currency"]) == ("draft", 1, "usd")
    assert (invoice["period_start"], invoice["period_end"]) == (NOVEMBER, DECEMBER)
    # 1,250,000 tokens over both models: 100,000 free, 900,000 at 0.3 cents for 1,000, 250,000 at 0.2 cents for 1,000.
    assert ledger.lines() == [
        ("usage", "gpt-4o*", "*", Decimal(100_000), 0),
        ("usage", "gpt-4o*", "*", Decimal(900_000), 270),
        ("usage", "gpt-4o*", "*", Decimal(250_000), 50),
    ]
    assert invoice["total_amount"] == 320


def test_the_period_is_frozen_and_what_comes_later_belongs_to_the_next_revision(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=10)
    closed_at = DECEMBER + timedelta(hours=2)

    ledger.close(now=closed_at)

    row = ledger.period()
    assert (row["status"], row["revision"], row["closed_at"]) == ("closed", 2, closed_at)
    assert row["billed_totals"] == row["totals"] == {"gpt-4o": {"input": 10, "requests": 1}}
    assert ledger.invoices()[0]["arrival_cutoff"] == closed_at
    ledger.use(tokens_in=5, stored=closed_at + timedelta(days=1))
    assert [row["revision"] for row in ledger.rows("SELECT revision FROM usage_events ORDER BY tokens_in")] == [2, 1]
    assert ledger.period()["billed_totals"] == {"gpt-4o": {"input": 10, "requests": 1}}


@pytest.mark.parametrize(
    ("at", "billed_in"),
    [
        (NOVEMBER - INSTANT, datetime(2026, 10, 1, tzinfo=UTC)),
        (NOVEMBER, NOVEMBER),
        (DECEMBER - INSTANT, NOVEMBER),
        (DECEMBER, DECEMBER),
    ],
)
def test_an_event_on_a_boundary_is_billed_once_in_the_period_that_begins_there(
    ledger: Ledger, at: datetime, billed_in: datetime
) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=7, at=at)
    ledger.close(as_of=JANUARY)
    [invoice] = ledger.invoices()
    assert (invoice["period_start"], invoice["total_amount"]) == (billed_in, 7)


def test_a_period_that_runs_is_left_alone_until_as_of_reaches_its_end(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=1)
    assert ledger.close(as_of=DECEMBER - INSTANT) == ClosingSummary()
    assert ledger.close(as_of=DECEMBER) == ClosingSummary(closed=1, invoices=1)


def test_the_grace_holds_the_automatic_close_back_and_nothing_else(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=1)
    assert ledger.close(as_of=DECEMBER + timedelta(seconds=299), grace=300) == ClosingSummary()
    assert ledger.close(as_of=DECEMBER + timedelta(seconds=300), grace=300) == ClosingSummary(closed=1, invoices=1)


def test_events_recorded_long_after_as_of_count_when_they_are_there_at_the_close(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=1, stored=JANUARY)
    ledger.close(as_of=DECEMBER, now=JANUARY + timedelta(days=1))
    assert [invoice["total_amount"] for invoice in ledger.invoices()] == [1]


def test_a_second_run_changes_nothing_and_says_so(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=1)
    ledger.close()
    before = ledger.invoices(), ledger.period()
    assert ledger.close(now=JANUARY) == ClosingSummary(already=1)
    assert (ledger.invoices(), ledger.period()) == before


def test_more_customers_than_a_chunk_are_closed_in_several_transactions(ledger: Ledger) -> None:
    ledger.plan(CENT)
    for n in range(7):
        ledger.customer(f"user-{n}")
        ledger.use(f"user-{n}", tokens_in=n + 1)
    assert ledger.close(chunk=2) == ClosingSummary(closed=7, invoices=7)
    totals = ledger.rows("SELECT total_amount FROM invoices ORDER BY user_id")
    assert [row["total_amount"] for row in totals] == [1, 2, 3, 4, 5, 6, 7]


def test_a_run_whose_time_is_up_leaves_the_rest_to_the_next(ledger: Ledger) -> None:
    ledger.plan(CENT)
    for n in range(5):
        ledger.customer(f"user-{n}")
        ledger.use(f"user-{n}", tokens_in=n + 1)
    asked = iter([True, True])
    assert ledger.close(chunk=1, go_on=lambda: next(asked, False)) == ClosingSummary(closed=2, invoices=2)
    assert ledger.close() == ClosingSummary(closed=3, invoices=3, already=2)


def test_several_periods_of_one_customer_get_an_invoice_each(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    ledger.use(tokens_in=1)
    ledger.use(tokens_in=2, at=DECEMBER)
    assert ledger.close(as_of=JANUARY) == ClosingSummary(closed=2, invoices=2)
    assert [invoice["total_amount"] for invoice in ledger.invoices()] == [1, 2]


class TestWhoGetsAnInvoice:
    def test_nobody_for_a_period_in_which_nothing_was_used(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=0)  # a request that used nothing
        assert ledger.close() == ClosingSummary(closed=1, invoices=0)

    def test_whoever_used_something_even_where_it_was_free(self, ledger: Ledger) -> None:
        ledger.plan(TIERED)
        ledger.customer(plan="tiered")
        ledger.use(tokens_in=100)
        assert ledger.close().invoices == 1
        assert ledger.lines() == [("usage", "gpt-4o*", "*", Decimal(100), 0)]

    def test_whoever_made_requests_that_have_a_price(self, ledger: Ledger) -> None:
        price = '[[plans.cent.prices]]\nmeter = "requests"\nmodel = "*"\nprice = "0.25"'
        ledger.plan(CENT + price)
        ledger.customer()
        ledger.use()
        ledger.use()
        ledger.close()
        assert ledger.lines() == [("usage", "*", "requests", Decimal(2), 50)]

    def test_a_failed_request_that_costs_nothing_is_no_usage(self, ledger: Ledger) -> None:
        from dataclasses import replace

        ledger.plan(CENT)
        ledger.customer()
        event = ledger.use(tokens_in=0)
        ledger.store([replace(event, id=type(event.id)(int=1), billable=False)], NOVEMBER)
        assert ledger.close().invoices == 0

    def test_whoever_owes_a_base_fee_for_every_period_since_they_were_added(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE, now=NOVEMBER)
        ledger.customer(plan="fee", since=NOVEMBER + timedelta(days=20))
        ledger.use(tokens_in=5, at=DECEMBER)
        assert ledger.close(as_of=datetime(2027, 2, 1, tzinfo=UTC)) == ClosingSummary(closed=3, invoices=3)
        assert [(i["period_start"].month, i["total_amount"]) for i in ledger.invoices()] == [
            (11, 9900),
            (12, 9905),
            (1, 9900),
        ]
        assert ledger.lines()[1:3] == [
            ("usage", "*", "*", Decimal(5), 5),
            ("base_fee", None, None, Decimal(1), 9900),
        ]

    def test_a_base_fee_is_billed_once_however_often_the_close_looks(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE)
        ledger.customer(plan="fee")
        for as_of in (DECEMBER, DECEMBER, NOVEMBER, JANUARY, DECEMBER, JANUARY):
            ledger.close(as_of=as_of)
        assert [invoice["period_start"] for invoice in ledger.invoices()] == [NOVEMBER, DECEMBER]

    def test_nobody_owes_a_base_fee_for_periods_before_they_had_a_plan_with_one(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE + CENT)
        ledger.customer(plan="cent")
        ledger.close(as_of=DECEMBER)
        ledger.run("UPDATE customers SET plan_id = 'fee'")
        ledger.close(as_of=JANUARY)
        assert [invoice["period_start"] for invoice in ledger.invoices()] == [DECEMBER]

    def test_an_anniversary_is_billed_from_the_customers_own_day(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE.replace('currency = "usd"', 'currency = "usd"\ninterval = "anniversary"'))
        anchor = datetime(2026, 11, 30, 14, 37, 5, tzinfo=UTC)
        ledger.customer(plan="fee", since=anchor, anchor=anchor)
        ledger.close(as_of=datetime(2027, 3, 15, tzinfo=UTC))
        assert [(i["period_start"].isoformat(), i["period_end"].isoformat()) for i in ledger.invoices()] == [
            ("2026-11-30T14:37:05+00:00", "2026-12-30T14:37:05+00:00"),
            ("2026-12-30T14:37:05+00:00", "2027-01-30T14:37:05+00:00"),
            ("2027-01-30T14:37:05+00:00", "2027-02-28T14:37:05+00:00"),
        ]

    def test_a_closed_customer_owes_no_more_base_fees(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE)
        ledger.customer(plan="fee")
        ledger.run("UPDATE customers SET status = 'closed'")
        assert ledger.close() == ClosingSummary()


class TestWhatIsBilled:
    def test_the_version_that_the_period_began_with_prices_it(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100)
        ledger.plan(CENT.replace('"0.01"', '"0.05"'), now=NOVEMBER + timedelta(days=20))
        ledger.use(tokens_in=100, at=NOVEMBER + timedelta(days=25))
        ledger.use(tokens_in=100, at=DECEMBER)
        ledger.close(as_of=JANUARY)
        assert [(i["plan_version"], i["total_amount"]) for i in ledger.invoices()] == [(1, 200), (2, 500)]

    def test_a_draft_does_not_move_when_prices_do(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100)
        ledger.close()
        before = ledger.invoices(), ledger.lines()
        ledger.plan(CENT.replace('"0.01"', '"0.05"'), now=DECEMBER, immediate=True)
        ledger.close(as_of=JANUARY)
        assert (ledger.invoices(), ledger.lines()) == before

    @pytest.mark.parametrize(
        ("plan_says", "default", "expected"),
        [
            (None, "meters", "meters"),
            (None, "off", "off"),
            ("invoices", "meters", "invoices"),
            ("off", "meters", "off"),
        ],
    )
    def test_the_plan_chooses_how_it_is_collected_and_the_settings_where_it_does_not(
        self, ledger: Ledger, plan_says: str | None, default: str, expected: str
    ) -> None:
        ledger.collect = default
        ledger.plan(CENT)
        ledger.run("UPDATE plans SET collect = :collect", collect=plan_says)
        ledger.customer()
        ledger.use(tokens_in=1)
        ledger.close()
        assert [invoice["collect"] for invoice in ledger.invoices()] == [expected]
        assert len(ledger.rows("SELECT * FROM stripe_reports")) == (1 if expected == "meters" else 0)

    def test_tokens_without_a_price_are_billed_nowhere_and_flagged_on_the_invoice(self, ledger: Ledger) -> None:
        ledger.plan(TIERED)
        ledger.customer(plan="tiered")
        ledger.use(tokens_in=123, model="mystery")
        ledger.close()
        [invoice] = ledger.invoices()
        assert (invoice["total_amount"], invoice["alarm"]) == (0, "no price for mystery input (123)")

    def test_a_yen_has_no_cents_and_a_dinar_ends_in_zero(self, ledger: Ledger) -> None:
        for name, currency, price in (("yen", "jpy", "0.4"), ("dinar", "kwd", "0.004")):
            text = CENT.replace("cent", name).replace("usd", currency).replace("0.01", price)
            ledger.plan(text)
            ledger.customer(f"{name}-user", plan=name)
            ledger.use(f"{name}-user", tokens_in=4)
        ledger.close()
        # 4 x 0.4 yen = 1.6 yen; 4 x 0.004 dinar = 16 fils, which Stripe takes as 20.
        assert [ledger.invoices(user)[0]["total_amount"] for user in ("yen-user", "dinar-user")] == [2, 20]


class TestWhatStripeIsOwed:
    def test_one_row_for_each_model_and_token_type_that_was_used(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=100, tokens_out=20, cached_tokens_in=30, cache_write_tokens_in=10)
        ledger.use(tokens_in=5, model="claude-opus")
        ledger.close()
        reports = ledger.rows("SELECT * FROM stripe_reports ORDER BY model_id, token_type")
        assert [(r["model_id"], r["token_type"], r["value"], r["event_name"]) for r in reports] == [
            ("claude-opus", "input", 5, "ai_tokens"),
            ("gpt-4o", "cache_write", 10, "ai_tokens"),
            ("gpt-4o", "cached_input", 30, "ai_tokens"),
            ("gpt-4o", "input", 60, "ai_tokens"),
            ("gpt-4o", "output", 20, "ai_tokens"),
        ]
        assert {r["timestamp"] for r in reports} == {DECEMBER - timedelta(seconds=1)}
        assert {(r["state"], r["revision"], r["attempts"], r["first_sent_at"]) for r in reports} == {
            ("pending", 1, 0, None)
        }
        assert len({r["identifier"] for r in reports}) == 5

    def test_other_meters_only_where_they_have_a_price_and_under_its_name(self, ledger: Ledger) -> None:
        prices = """
            [[plans.cent.prices]]
            meter = "images"
            model = "*"
            price = "0.10"
            [[plans.cent.prices]]
            meter = "compute_minutes"
            model = "*"
            price = "1.00"
            stripe_meter = "gpu_minutes"
        """
        ledger.plan(CENT + prices)
        ledger.customer()
        ledger.use(compute_minutes=Decimal("1.5"), units={"images": Decimal(3), "songs": Decimal(9)})
        ledger.close()
        reports = ledger.rows("SELECT token_type, event_name, value FROM stripe_reports ORDER BY token_type")
        assert [tuple(report.values()) for report in reports] == [
            ("compute_minutes", "gpu_minutes", 2),  # whole units: 1.5 is rounded up
            ("images", "images", 3),
        ]


class TestWhatIsNotProven:
    def parked(self, ledger: Ledger, **more: Any) -> str:
        assert ledger.close(**more) == ClosingSummary(closed=0, invoices=0, parked=1)
        assert ledger.invoices() == []
        row = ledger.period()
        assert row["status"] == "parked"
        return str(row["parked_reason"])

    def test_running_totals_that_the_events_do_not_bear_out_are_parked_and_not_billed(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=10)
        ledger.run("""UPDATE usage_periods SET totals = '{"gpt-4o": {"input": 11, "requests": 1}}'""")
        assert self.parked(ledger) == "gpt-4o input: 10 in the events, 11 in the running totals"

    def test_an_event_that_is_gone_parks_its_period(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=10)
        ledger.tamper("DELETE FROM usage_events")
        assert self.parked(ledger) == "0 events, 1 in the running totals"

    def test_units_of_the_apps_own_are_counted_again_too(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(units={"images": Decimal("2.5")})
        ledger.use(units={"images": Decimal("0.25")}, model="other")
        ledger.tamper("""UPDATE usage_events SET units = '{"images": 3}' WHERE model_id = 'other'""")
        assert self.parked(ledger) == "other images: 3 in the events, 0.25 in the running totals"

    def test_one_customer_who_is_parked_keeps_nobody_else_from_being_billed(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        for user in ("ada", "bob", "eve"):
            ledger.customer(user)
            ledger.use(user, tokens_in=10)
        ledger.run("UPDATE usage_periods SET events = 7 WHERE user_id = 'bob'")
        assert ledger.close() == ClosingSummary(closed=2, invoices=2, parked=1)

    def test_a_row_that_cannot_even_be_read_is_parked_and_the_others_are_billed(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        for user in ("ada", "bob", "eve"):
            ledger.customer(user)
            ledger.use(user, tokens_in=10)
        ledger.run("""UPDATE usage_periods SET totals = '{"gpt-4o": 5}' WHERE user_id = 'bob'""")
        ledger.close()
        rows = ledger.rows("SELECT user_id, status, parked_reason FROM usage_periods ORDER BY user_id")
        assert [row["status"] for row in rows] == ["closed", "parked", "closed"]
        assert "AttributeError" in rows[1]["parked_reason"]

    def test_a_parked_period_is_closed_when_a_person_asks_and_it_agrees_by_then(self, ledger: Ledger) -> None:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=10)
        ledger.run("UPDATE usage_periods SET events = 7")
        ledger.close()
        ledger.run("UPDATE usage_periods SET events = 1")
        assert ledger.close() == ClosingSummary(parked=1)
        assert ledger.close(retry_parked=True) == ClosingSummary(closed=1, invoices=1)
        assert ledger.period()["parked_reason"] is None


class TestRequestsThatStillRun:
    @pytest.fixture
    def held(self, ledger: Ledger) -> Ledger:
        ledger.plan(CENT)
        ledger.customer()
        ledger.use(tokens_in=10)
        ledger.run(
            "INSERT INTO holds (id, user_id, started_at, expires_at, tokens_in) "
            "VALUES (gen_random_uuid(), 'ada', :start, :end, 5)",
            start=DECEMBER - timedelta(seconds=2),
            end=DECEMBER + timedelta(minutes=15),
        )
        return ledger

    def test_the_automatic_close_waits_for_them(self, held: Ledger) -> None:
        at = DECEMBER + timedelta(minutes=6)
        assert held.close(as_of=at, now=at, grace=300) == ClosingSummary(waiting=1)
        held.run("DELETE FROM holds")
        assert held.close(as_of=at, now=at, grace=300) == ClosingSummary(closed=1, invoices=1)

    def test_one_that_has_expired_is_not_waited_for(self, held: Ledger) -> None:
        at = DECEMBER + timedelta(minutes=16)
        assert held.close(as_of=at, now=at, grace=300).closed == 1

    @pytest.mark.parametrize("began", [DECEMBER, NOVEMBER - INSTANT])
    def test_one_that_began_in_another_period_is_not_waited_for(self, held: Ledger, began: datetime) -> None:
        held.run("UPDATE holds SET started_at = :at", at=began)
        at = DECEMBER + timedelta(minutes=6)
        assert held.close(as_of=at, now=at, grace=300).closed == 1

    def test_a_person_who_asks_is_not_kept_waiting(self, held: Ledger) -> None:
        assert held.close().closed == 1
