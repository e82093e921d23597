"""A plan that changes inside a period: two parts, each priced by its own plan, on one invoice."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from integration.closing.ledger import DECEMBER, JANUARY, NOVEMBER, Ledger
from integration.money.terminal import Terminal
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.services.browsing import customer_file
from tollkeeper.services.crediting import grant
from tollkeeper.services.explaining import explain
from tollkeeper.services.leaving import close_customer
from tollkeeper.services.moving import PlanMove, move_customer
from tollkeeper.services.previewing import preview
from tollkeeper.services.rating import rate_unpriced
from tollkeeper.services.reconciling import reconcile
from tollkeeper.services.reversing import reverse
from tollkeeper.services.showing import usage_of
from tollkeeper.services.voiding import redraft
from tollkeeper.services.windowing import enter_windows

DAY = timedelta(days=1)
MIDDLE = NOVEMBER + 15 * DAY
INSTANT = timedelta(microseconds=1)

# A cent a token after 600 that are included; two cents a token. 90 and 150 dollars a month, 3 and 5 dollars a day.
SMALL = """
[plans.small]
name = "Small"
currency = "usd"
base_fee = "90.00"
included_tokens = 600
spend_cap = "4.00"
[[plans.small.prices]]
model = "*"
price = "0.01"
"""
LARGE = """
[plans.large]
name = "Large"
currency = "usd"
base_fee = "150.00"
quota_tokens = 1_000
spend_cap = "6.00"
[[plans.large.prices]]
model = "*"
price = "0.02"
"""


@pytest.fixture
def moving(ledger: Ledger) -> Ledger:
    """Ada is on Small from the first of November."""
    ledger.plan(SMALL)
    ledger.plan(LARGE)
    ledger.customer(plan="small", stripe="cus_ada")
    return ledger


def move(ledger: Ledger, plan: str, at: datetime, *, now: datetime = MIDDLE) -> PlanMove:
    return move_customer(ledger.database, "ada", plan, now, at=at)


def amounts(ledger: Ledger) -> list[tuple[datetime, str, int]]:
    """Where the part of each line begins, what it is and what it comes to, of every invoice."""
    rows = ledger.rows(
        """
        SELECT l.period_start, l.kind, l.amount FROM invoice_line_items AS l JOIN invoices AS i ON i.id = l.invoice_id
        ORDER BY i.period_start, i.revision, l.position
        """
    )
    return [(row["period_start"], row["kind"], row["amount"]) for row in rows]


def agrees(ledger: Ledger, now: datetime = JANUARY) -> bool:
    return reconcile(ledger.database, None, now=now).ok


def test_each_part_is_priced_by_its_own_plan_and_one_invoice_has_both(moving: Ledger) -> None:
    moving.use(tokens_in=500, at=MIDDLE - INSTANT)
    move(moving, "large", MIDDLE)
    moving.use(tokens_in=100, at=MIDDLE)

    # Half of 600 tokens are included in half of the month: 200 cents. 100 tokens at two cents.
    assert moving.period()["spent"] == preview(moving.database, "ada", at=MIDDLE).usage_amount == 200 + 200
    moving.close()

    [invoice] = moving.invoices()
    assert (invoice["period_start"], invoice["period_end"], invoice["plan_id"]) == (NOVEMBER, DECEMBER, "large")
    assert amounts(moving) == [
        (NOVEMBER, "usage", 200),
        (NOVEMBER, "base_fee", 4_500),
        (MIDDLE, "usage", 200),
        (MIDDLE, "base_fee", 7_500),
    ]
    assert invoice["total_amount"] == 12_400
    assert agrees(moving)


def test_past_and_future_instants_come_to_the_same_whatever_was_stored_before(moving: Ledger) -> None:
    """The same usage, and the change said before all of it, in the middle, or after all of it."""
    used = [(NOVEMBER + 3 * DAY, 500), (MIDDLE - INSTANT, 70), (MIDDLE, 100), (MIDDLE + 9 * DAY, 30)]
    for n, said_at in enumerate((NOVEMBER, MIDDLE, MIDDLE + 10 * DAY)):
        user = moving.customer(f"user{n}", "small")
        for at, tokens in used:
            if at >= said_at:
                move_customer(moving.database, user, "large", said_at, at=MIDDLE)
            moving.use(user, tokens_in=tokens, at=at)
        move_customer(moving.database, user, "large", max(said_at, MIDDLE), at=MIDDLE)
    moving.close()
    # 570 less 300 included at a cent, 130 at two, and half of each fee.
    assert [moving.invoices(f"user{n}")[0]["total_amount"] for n in range(3)] == [270 + 260 + 4_500 + 7_500] * 3
    costs = moving.rows("SELECT user_id, sum(cost_units) AS cost FROM usage_events GROUP BY user_id ORDER BY user_id")
    assert [row["cost"] for row in costs] == [Decimal(530)] * 3
    assert agrees(moving)


def test_events_that_come_late_to_either_part_are_billed_by_the_plan_of_their_part(moving: Ledger) -> None:
    move(moving, "large", MIDDLE)
    moving.use(tokens_in=300, at=NOVEMBER + DAY)
    moving.close()
    assert amounts(moving) == [(NOVEMBER, "base_fee", 4_500), (MIDDLE, "base_fee", 7_500)]

    moving.use(tokens_in=11, at=MIDDLE - INSTANT, stored=DECEMBER + DAY)
    moving.use(tokens_in=7, at=MIDDLE, stored=DECEMBER + DAY)
    assert agrees(moving, DECEMBER + DAY)
    moving.close(JANUARY)

    # The allowance of the first part is used up: 11 cents. 7 tokens at two. And December's whole fee.
    assert amounts(moving)[2:] == [
        (DECEMBER, "base_fee", 15_000),
        (NOVEMBER, "late_usage", 11),
        (MIDDLE, "late_usage", 14),
    ]
    assert agrees(moving, JANUARY + DAY)
    moving.close(JANUARY + 31 * DAY)
    assert [kind for _, kind, _ in amounts(moving)].count("late_usage") == 2


def test_two_changes_in_one_period_and_back(moving: Ledger) -> None:
    """10 days each: Small, Large, Small. The tiers and the allowance of each part begin anew, the fees add up by time."""
    for at, plan in ((NOVEMBER + 10 * DAY, "large"), (NOVEMBER + 20 * DAY, "small")):
        move(moving, plan, at)
    for day in (5, 15, 25):
        moving.use(tokens_in=250, at=NOVEMBER + day * DAY)
    moving.close()
    # 250 tokens less 200 included at a cent, 250 at two cents, and again 50.
    assert [(kind, amount) for _, kind, amount in amounts(moving)] == [
        ("usage", 50), ("base_fee", 3_000), ("usage", 500), ("base_fee", 5_000), ("usage", 50), ("base_fee", 3_000),
    ]  # fmt: skip
    assert moving.invoices()[0]["plan_id"] == "small"
    assert agrees(moving)


def test_a_change_at_the_very_start_is_the_whole_period_and_at_its_end_the_next(moving: Ledger) -> None:
    moving.use(tokens_in=10, at=NOVEMBER)
    assert move(moving, "large", NOVEMBER) == PlanMove("small", "large", NOVEMBER)
    assert (moving.period()["plan_id"], moving.period()["plan_parts"], moving.period()["spent"]) == ("large", None, 20)
    assert move(moving, "small", DECEMBER) == PlanMove("large", "small")
    moving.close(JANUARY)
    assert [row["total_amount"] for row in moving.invoices()] == [15_000 + 20, 9_000]


def test_a_later_word_calls_off_what_was_to_follow(moving: Ledger) -> None:
    move(moving, "large", NOVEMBER + 20 * DAY)
    assert move(moving, "small", NOVEMBER + 20 * DAY) == PlanMove("large", "small", NOVEMBER + 20 * DAY)
    assert moving.period()["plan_parts"] is None
    move(moving, "large", NOVEMBER + 20 * DAY)
    move(moving, "large", MIDDLE)
    assert [part["start"] for part in moving.period()["plan_parts"]] == [NOVEMBER.isoformat(), MIDDLE.isoformat()]
    assert move(moving, "large", MIDDLE) == PlanMove("large", "large", MIDDLE)


@pytest.mark.parametrize("used", [True, False])
def test_without_an_instant_the_open_period_stays_as_it_is_where_something_was_used(moving: Ledger, used: bool) -> None:
    if used:
        moving.use(tokens_in=1, at=NOVEMBER)
    assert move_customer(moving.database, "ada", "large", MIDDLE) == PlanMove("small", "large")
    moving.use(tokens_in=700, at=MIDDLE + DAY)
    moving.close(JANUARY)
    assert [row["total_amount"] for row in moving.invoices()] == [9_000 + 101 if used else 15_000 + 1_400, 15_000]


def test_a_change_that_is_to_come_stays_where_another_plan_is_for_the_next_period(moving: Ledger) -> None:
    move(moving, "large", NOVEMBER + 20 * DAY)
    move_customer(moving.database, "ada", "small", MIDDLE)
    moving.close(JANUARY)
    assert [row["total_amount"] for row in moving.invoices()] == [6_000 + 5_000, 9_000]


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (DECEMBER + INSTANT, "an instant up to 2026-12-01T00:00:00Z, the end of the open period"),
        (NOVEMBER - DAY, "an instant since the customer was added"),
        (NOVEMBER + timedelta(seconds=59), "an instant at least a minute from the period's bounds"),
        (DECEMBER - timedelta(seconds=59), "an instant at least a minute from the period's bounds"),
    ],
)
def test_an_instant_that_cannot_be_is_refused_in_one_line(moving: Ledger, at: datetime, expected: str) -> None:
    terminal = Terminal(moving, MIDDLE)
    said = terminal("customers", "plan", "ada", "large", "--at", at.isoformat(), exit_code=2).stderr
    assert said.startswith(f"tollkeeper: at: expected {expected}")
    assert said.count("\n") == 1
    assert moving.rows("SELECT plan_id FROM customers") == [{"plan_id": "small"}]


@pytest.mark.parametrize("used", [True, False])
def test_an_instant_in_a_closed_period_is_refused(moving: Ledger, used: bool) -> None:
    moving.plan(SMALL.replace('base_fee = "90.00"', ""), immediate=True)
    if used:
        moving.use(tokens_in=1)
    moving.close()
    with pytest.raises(InvalidInput, match="at: expected an instant in a period that is not closed yet"):
        move(moving, "large", MIDDLE, now=DECEMBER + 2 * DAY)
    move(moving, "large", DECEMBER + DAY, now=DECEMBER + 2 * DAY)


def test_a_period_that_is_over_and_not_closed_is_open_and_what_follows_it_changes_too(moving: Ledger) -> None:
    moving.use(tokens_in=10, at=DECEMBER)
    move(moving, "large", MIDDLE, now=DECEMBER + DAY)
    assert moving.period(start=DECEMBER)["spent"] == 20
    moving.close(JANUARY)
    assert [row["total_amount"] for row in moving.invoices()] == [4_500 + 7_500, 15_000 + 20]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ('interval = "year"', "one whose interval is month"),
        ('collect = "invoices"', "one that is collected as the other, because a period has one invoice"),
        ('collect = "off"', "one that is collected as the other, because a period has one invoice"),
    ],
)
def test_a_plan_that_one_invoice_cannot_have_beside_the_other_is_refused(
    moving: Ledger, other: str, expected: str
) -> None:
    moving.plan(LARGE.replace("plans.large", "plans.other").replace('currency = "usd"', f'currency = "usd"\n{other}'))
    with pytest.raises(InvalidInput, match=f"plan: expected {expected}"):
        move(moving, "other", MIDDLE)
    assert moving.rows("SELECT plan_id FROM customers") == [{"plan_id": "small"}]


def test_a_change_that_makes_a_bill_too_large_is_refused_and_changes_nothing(moving: Ledger) -> None:
    moving.use(tokens_in=10**15, at=MIDDLE)
    moving.plan(LARGE.replace("plans.large", "plans.dear").replace("0.02", "999999999"))
    before = moving.period()
    terminal = Terminal(moving, MIDDLE)
    said = terminal("customers", "plan", "ada", "dear", "--at", "2026-11-10", exit_code=1).stderr
    assert said == "tollkeeper: an amount of 26 digits does not fit 64 bits\n"
    assert moving.period() == before
    assert moving.rows("SELECT plan_id FROM customers") == [{"plan_id": "small"}]


def test_a_year_that_stripe_prices_has_one_plan(ledger: Ledger) -> None:
    for plan in (SMALL, LARGE):
        ledger.plan(plan.replace('currency = "usd"', 'currency = "usd"\ninterval = "year"'))
    ledger.customer(plan="small")
    with pytest.raises(InvalidInput, match="Stripe takes reports of the last 35 days"):
        move_customer(ledger.database, "ada", "large", MIDDLE, at=MIDDLE)
    move_customer(ledger.database, "ada", "large", MIDDLE, at=MIDDLE, collect="invoices")


def test_from_a_free_plan_that_nobody_collects_to_a_paid_one(ledger: Ledger) -> None:
    """The free part is on the invoice at nothing; Stripe is told of the paid part alone."""
    ledger.plan(
        '[plans.free]\ncurrency = "usd"\ncollect = "off"\nincluded_tokens = 1_000\n'
        '[[plans.free.prices]]\nmodel = "*"\nprice = "0"\n'
    )
    ledger.plan(LARGE)
    ledger.customer(plan="free", stripe="cus_ada")
    ledger.use(tokens_in=900, at=NOVEMBER + DAY)
    move(ledger, "large", MIDDLE)
    ledger.use(tokens_in=100, at=MIDDLE)
    ledger.close()
    [invoice] = ledger.invoices()
    assert (invoice["collect"], invoice["total_amount"]) == ("meters", 7_500 + 200)
    ledger.use(tokens_in=50, at=NOVEMBER + DAY, stored=DECEMBER + timedelta(minutes=6))
    ledger.close(now=DECEMBER + timedelta(minutes=7))
    assert [(row["period_start"], row["value"]) for row in ledger.rows("SELECT * FROM stripe_reports")] == [
        (MIDDLE, 100)
    ]
    assert agrees(ledger)


class TestAtTheGate:
    """Caps and quotas are those of the plan in force, measured on the whole period."""

    def gate(self, ledger: Ledger, at: datetime) -> Any:
        return usage_of(ledger.database, "ada", at)

    def test_a_change_does_not_open_the_cap_anew(self, moving: Ledger) -> None:
        moving.use(tokens_in=650, at=NOVEMBER + DAY)  # 350 over the half allowance, once the plan changes
        move(moving, "large", MIDDLE)
        moving.use(tokens_in=100, at=MIDDLE)
        shown = self.gate(moving, MIDDLE + DAY)
        assert (shown.plan_id, shown.spend_cap, shown.current.spent, shown.percent_of_cap) == ("large", 600, 550, 91)
        assert (shown.quota_tokens, shown.percent_of_quota) == (1_000, 75)

    def test_until_a_change_that_is_to_come_the_limits_are_the_earlier_plans(self, moving: Ledger) -> None:
        move(moving, "large", NOVEMBER + 20 * DAY)
        before, after = self.gate(moving, MIDDLE), self.gate(moving, NOVEMBER + 20 * DAY)
        assert (before.plan_id, before.spend_cap, before.quota_tokens) == ("small", 400, 600)
        assert (after.plan_id, after.spend_cap, after.quota_tokens) == ("large", 600, 1_000)

    def test_the_notices_are_about_the_whole_quota_of_the_plan_in_force(self, moving: Ledger) -> None:
        moving.plan(LARGE)
        move(moving, "large", NOVEMBER + DAY)
        move(moving, "small", MIDDLE)
        moving.use(tokens_in=310, at=MIDDLE)  # more than the part's share of the 600, and just over half of them
        assert [row["threshold"] for row in moving.rows("SELECT threshold FROM quota_alerts")] == [50]


class TestAtStripe:
    def test_reports_stand_in_the_last_second_of_their_part(self, moving: Ledger) -> None:
        at = MIDDLE + timedelta(hours=12, minutes=30, seconds=30)
        move(moving, "large", at, now=at)
        moving.use(tokens_in=5, at=at - INSTANT)
        moving.use(tokens_in=7, at=at)
        moving.close()
        second = timedelta(seconds=1)
        rows = moving.rows('SELECT period_start, "timestamp", value FROM stripe_reports ORDER BY period_start')
        assert [tuple(row.values()) for row in rows] == [(NOVEMBER, at - second, 5), (at, DECEMBER - second, 7)]
        assert agrees(moving)

    def test_what_comes_late_while_stripe_still_takes_it_is_told_by_part(self, moving: Ledger) -> None:
        move(moving, "large", MIDDLE)
        moving.use(tokens_in=5, at=MIDDLE)
        moving.close(now=DECEMBER + timedelta(minutes=1))
        moving.use(tokens_in=3, at=NOVEMBER, stored=DECEMBER + timedelta(minutes=2))
        moving.close(now=DECEMBER + timedelta(minutes=3))
        rows = moving.rows("SELECT period_start, revision, value FROM stripe_reports ORDER BY period_start")
        assert [tuple(row.values()) for row in rows] == [(NOVEMBER, 1, 3), (MIDDLE, 1, 5)]
        assert agrees(moving, DECEMBER + DAY)

    def test_days_that_are_told_early_are_told_by_part_and_no_change_reaches_back_behind_them(
        self, moving: Ledger
    ) -> None:
        day, grace = NOVEMBER + 15 * DAY + 12 * timedelta(hours=1), timedelta(minutes=5)
        moving.use(tokens_in=5, at=NOVEMBER + DAY)
        enter_windows(moving.database, now=NOVEMBER + 10 * DAY + grace, cadence="day", grace=grace)
        with pytest.raises(
            InvalidInput, match="an instant after 2026-11-02T23:59:59Z, up to where Stripe has been told"
        ):
            move(moving, "large", NOVEMBER + 1.5 * DAY, now=NOVEMBER + 11 * DAY)

        move(moving, "large", day, now=day)
        for tokens, at in ((1, day - INSTANT), (2, day), (4, day + DAY)):
            moving.use(tokens_in=tokens, at=at)
        enter_windows(moving.database, now=NOVEMBER + 20 * DAY + grace, cadence="day", grace=grace)
        moving.use(tokens_in=8, at=NOVEMBER + 3 * DAY, stored=DECEMBER)
        moving.use(tokens_in=16, at=NOVEMBER + 25 * DAY)
        moving.close()
        rows = moving.rows(
            'SELECT period_start, period_end, "timestamp", value FROM stripe_reports ORDER BY period_start, "timestamp", value'
        )
        second = timedelta(seconds=1)
        assert [tuple(row.values()) for row in rows] == [
            (NOVEMBER, day, NOVEMBER + 2 * DAY - second, 5),
            (NOVEMBER, day, day - second, 1),
            (NOVEMBER, day, day - second, 8),
            (day, DECEMBER, NOVEMBER + 16 * DAY - second, 2),
            (day, DECEMBER, NOVEMBER + 17 * DAY - second, 4),
            (day, DECEMBER, DECEMBER - second, 16),
        ]
        assert {row["invoice_id"] for row in moving.rows("SELECT invoice_id FROM stripe_reports")} == {
            moving.invoices()[0]["id"]
        }
        assert agrees(moving)


def test_an_event_is_taken_back_from_its_part_before_the_close_and_after_it(moving: Ledger) -> None:
    first = moving.use(tokens_in=500, at=NOVEMBER + DAY)
    move(moving, "large", MIDDLE)
    second = moving.use(tokens_in=100, at=MIDDLE)
    reverse(moving.database, first.id, by="grace", reason="a test", now=MIDDLE + DAY)
    assert moving.period()["spent"] == 200
    moving.close()
    reverse(moving.database, second.id, by="grace", reason="a test", now=DECEMBER + DAY)
    moving.close(JANUARY)
    assert amounts(moving)[-1] == (MIDDLE, "late_usage", -200)
    assert sum(row["cost_units"] for row in moving.rows("SELECT cost_units FROM usage_events")) == 0
    assert agrees(moving)


def test_a_draft_of_two_parts_is_drafted_anew_with_all_that_came_late_to_either(moving: Ledger) -> None:
    moving.collect = "off"
    move(moving, "large", MIDDLE)
    moving.use(tokens_in=400, at=NOVEMBER + DAY)
    moving.close()
    moving.use(tokens_in=100, at=MIDDLE, stored=DECEMBER + DAY)
    moving.close(JANUARY)
    old, december = moving.invoices()
    assert amounts(moving)[-1] == (MIDDLE, "late_usage", 200)
    again = redraft(moving.database, december["id"], by="grace", reason="a test", now=JANUARY + DAY, collect="off")
    assert again is not None
    assert (again.total_amount, again.total_amount) == (december["total_amount"], 15_000 + 200)
    assert old["total_amount"] == 100 + 4_500 + 7_500
    assert agrees(moving, JANUARY + DAY)


def test_a_customer_who_leaves_ends_the_last_part_and_calls_off_what_was_to_come(moving: Ledger) -> None:
    move(moving, "large", NOVEMBER + 10 * DAY)
    move(moving, "small", NOVEMBER + 25 * DAY)
    moving.use(tokens_in=450, at=NOVEMBER + DAY)
    close_customer(moving.database, "ada", NOVEMBER + 20 * DAY, NOVEMBER + 20 * DAY)
    moving.close(NOVEMBER + 20 * DAY)
    # A third of 600 included: 250 cents. 10 days at 3 dollars, 10 at 5.
    assert [(kind, amount) for _, kind, amount in amounts(moving)] == [
        ("usage", 250), ("base_fee", 3_000), ("base_fee", 5_000),
    ]  # fmt: skip
    assert agrees(moving)
    with pytest.raises(InvalidInput, match="user_id: expected a customer who has not left"):
        move(moving, "small", NOVEMBER + 12 * DAY)


def test_a_trial_goes_on_in_the_plan_that_the_customer_comes_to(ledger: Ledger) -> None:
    ledger.plan(SMALL.replace('base_fee = "90.00"', 'base_fee = "90.00"\ntrial_days = 15'))
    ledger.plan(LARGE)
    ledger.customer(plan="small")
    ledger.use(tokens_in=900, at=NOVEMBER + DAY)
    ledger.use(tokens_in=900, at=NOVEMBER + 12 * DAY)
    move(ledger, "large", NOVEMBER + 10 * DAY)
    assert ledger.period()["spent"] == 0
    ledger.use(tokens_in=10, at=MIDDLE)
    ledger.close()
    assert [row["total_amount"] for row in ledger.invoices()] == [0, 7_500 + 20]


def test_own_terms_hold_in_every_part_and_a_new_version_reaches_the_parts_of_its_plan(moving: Ledger) -> None:
    terminal = Terminal(moving, MIDDLE)
    move(moving, "large", MIDDLE)
    moving.use(tokens_in=400, at=NOVEMBER + DAY)
    moving.use(tokens_in=100, at=MIDDLE)
    terminal("customers", "override", "ada", "--discount", "50", "--now")
    assert preview(moving.database, "ada", at=MIDDLE).total_amount == 50 + 100 + 4_500 + 7_500
    moving.plan(SMALL.replace('price = "0.01"', 'price = "0.03"'), MIDDLE, immediate=True)
    assert moving.period()["spent"] == 300 + 200
    # 100 tokens over at three cents and 100 at two, each halved.
    bill = preview(moving.database, "ada", at=MIDDLE)
    assert bill.total_amount == 150 + 100 + 4_500 + 7_500
    assert sum(row["cost_units"] for row in moving.rows("SELECT cost_units FROM usage_events")) == 500


def test_what_had_no_price_in_one_part_is_rated_by_the_plan_of_that_part(moving: Ledger) -> None:
    moving.plan(LARGE.replace('model = "*"', 'model = "known"'), MIDDLE, immediate=True)
    move(moving, "large", MIDDLE)
    moving.use(tokens_in=400, at=NOVEMBER + DAY, model="new")
    moving.use(tokens_in=100, at=MIDDLE, model="new")
    moving.close()
    [invoice] = moving.invoices()
    assert invoice["alarm"] == "no price for new input (100)"
    moving.plan(LARGE, DECEMBER + DAY)
    assert rate_unpriced(moving.database, DECEMBER + DAY).left == 0
    assert moving.invoices()[0]["alarm"] is None
    moving.close(JANUARY)
    assert amounts(moving)[-1] == (MIDDLE, "late_usage", 200)
    assert agrees(moving, JANUARY + DAY)


def test_granted_tokens_are_drawn_for_the_parts_in_their_order(moving: Ledger) -> None:
    grant(moving.database, "ada", unit="tokens", amount=150, now=NOVEMBER)
    move(moving, "large", MIDDLE)
    moving.use(tokens_in=400, at=NOVEMBER + DAY)
    moving.use(tokens_in=100, at=MIDDLE)
    moving.close()
    # 100 of them for the first part, a cent each, the other 50 for the second, two cents each.
    assert amounts(moving)[-1] == (NOVEMBER, "credit", -200)


def test_every_line_says_its_plan_its_part_and_its_events(moving: Ledger) -> None:
    move(moving, "large", MIDDLE)
    moving.use(tokens_in=400, at=NOVEMBER + DAY)
    moving.use(tokens_in=100, at=MIDDLE)
    moving.close()
    explained = explain(moving.database, moving.invoices()[0]["id"])
    assert [(one.plan_id, one.line.description, one.arithmetic) for one in explained.lines] == [
        (
            "small",
            "Small from 2026-11-01 00:00:00 UTC: all models, all tokens: 100 at $0.01",
            "100 × $0.01 = $1.00",
        ),
        (
            "small",
            "Small: base fee $90.00 for 2026-11-01 00:00:00 to 2026-11-16 00:00:00 UTC",
            "the base fee for the period, or for its share of the time: $45.00",
        ),
        (
            "large",
            "Large from 2026-11-16 00:00:00 UTC: all models, all tokens: 100 at $0.02",
            "100 × $0.02 = $2.00",
        ),
        (
            "large",
            "Large: base fee $150.00 for 2026-11-16 00:00:00 to 2026-12-01 00:00:00 UTC",
            "the base fee for the period, or for its share of the time: $75.00",
        ),
    ]
    found = [moving.rows(one.events_sql.replace(":", "\\:")) for one in explained.lines if one.events_sql]
    assert [[row["tokens_in"] for row in rows] for rows in found] == [[400], [100]]


def test_the_operators_page_of_a_customer_charges_each_part_by_its_own_plan(moving: Ledger) -> None:
    move(moving, "large", MIDDLE)
    moving.use(tokens_in=400, at=NOVEMBER + DAY)
    moving.use(tokens_in=100, at=MIDDLE)
    [margin] = customer_file(moving.database, "ada", MIDDLE).margins
    assert (margin.tokens, margin.charged, moving.period()["spent"]) == (500, 300, 300)


def test_the_commands_show_the_parts(moving: Ledger) -> None:
    terminal = Terminal(moving, MIDDLE)
    said = terminal("customers", "plan", "ada", "large", "--at", "2026-11-20").stdout
    assert said == "ada: from plan small to large, from 2026-11-20T00:00:00Z on\n"
    assert terminal("customers", "plan", "ada", "large", "--at", "2026-11-20").stdout == "ada: on plan large already\n"
    plans = "plans   small from 2026-11-01T00:00:00Z, large from 2026-11-20T00:00:00Z\n"
    assert plans in terminal("usage", "show", "ada").stdout
    shown = terminal.json("usage", "show", "ada")
    assert shown["plan_id"] == "small"
    assert [(part["start"], part["plan_id"]) for part in shown["current"]["parts"]] == [
        ("2026-11-01T00:00:00Z", "small"),
        ("2026-11-20T00:00:00Z", "large"),
    ]
    [first, second] = terminal.json("reconcile")["periods"]
    assert (first["period_end"], second["period_start"]) == ("2026-11-20T00:00:00Z",) * 2
