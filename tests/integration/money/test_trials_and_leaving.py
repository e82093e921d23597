"""Periods that are cut: by the end of a trial, and by a customer who leaves. And periods of a year."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from integration.closing.ledger import DECEMBER, JANUARY, NOVEMBER, WITH_FEE, Ledger
from integration.money.terminal import Terminal
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.services.leaving import close_customer
from tollkeeper.services.moving import move_customer
from tollkeeper.services.previewing import preview
from tollkeeper.services.rating import rate_unpriced
from tollkeeper.services.reconciling import reconcile
from tollkeeper.services.showing import usage_of

DAY = timedelta(days=1)
MIDDLE = NOVEMBER + 15 * DAY
INSTANT = timedelta(microseconds=1)
TRIAL = WITH_FEE.replace('base_fee = "99.00"', 'base_fee = "90.00"\ntrial_days = 10\nminimum = "5.00"')


def spans(ledger: Ledger) -> list[tuple[datetime, datetime, int]]:
    return [(row["period_start"], row["period_end"], row["total_amount"]) for row in ledger.invoices()]


@pytest.fixture
def trying(ledger: Ledger) -> Ledger:
    """Ada came on the 6th and tries until the 16th, the middle of November."""
    ledger.plan(TRIAL)
    ledger.customer(plan="fee", since=NOVEMBER + 5 * DAY)
    return ledger


def test_a_trial_is_free_to_the_instant_and_what_follows_pays_its_share_of_the_fee(trying: Ledger) -> None:
    trying.use(tokens_in=1_000, at=MIDDLE - INSTANT)
    assert preview(trying.database, "ada", at=MIDDLE - INSTANT).total_amount == 0
    trying.use(tokens_in=700, at=MIDDLE)
    assert trying.period(start=NOVEMBER)["spent"] == 0
    assert trying.period(start=MIDDLE)["spent"] == preview(trying.database, "ada", at=MIDDLE).usage_amount == 700

    trying.close()

    # 700 tokens at a cent, and half of 90 dollars for the second half of the month.
    assert spans(trying) == [(NOVEMBER, MIDDLE, 0), (MIDDLE, DECEMBER, 700 + 4_500)]
    assert reconcile(trying.database, None, now=JANUARY).ok
    trying.close(JANUARY)
    assert spans(trying)[2] == (DECEMBER, JANUARY, 9_000 + 500)  # nothing used: the fee and the minimum


def test_a_trial_without_usage_gets_no_invoice_and_the_fee_begins_with_its_end(trying: Ledger) -> None:
    assert usage_of(trying.database, "ada", NOVEMBER + 7 * DAY).current.period_end == MIDDLE
    trying.close()
    assert spans(trying) == [(MIDDLE, DECEMBER, 4_500 + 500)]


def test_a_trial_goes_on_when_prices_change_or_the_customer_moves(trying: Ledger) -> None:
    trying.use(tokens_in=10, at=NOVEMBER + 7 * DAY)
    trying.plan(TRIAL.replace('"0.01"', '"0.02"'), NOVEMBER + 8 * DAY, immediate=True)
    trying.plan(WITH_FEE.replace("plans.fee", "plans.other"), NOVEMBER)
    move_customer(trying.database, "ada", "other", NOVEMBER + 8 * DAY)
    trying.use(tokens_in=10, at=NOVEMBER + 9 * DAY)
    assert trying.period(start=NOVEMBER)["spent"] == 0


def test_what_has_no_price_in_a_trial_is_flagged_and_free_once_it_has_one(ledger: Ledger) -> None:
    ledger.plan(TRIAL.replace('model = "*"', 'model = "known"'))
    ledger.customer(plan="fee", since=NOVEMBER + 5 * DAY)
    ledger.use(tokens_in=10, at=NOVEMBER + 7 * DAY, model="new")
    ledger.plan(TRIAL, NOVEMBER + 8 * DAY)
    assert rate_unpriced(ledger.database, NOVEMBER + 8 * DAY).left == 0
    assert ledger.period(start=NOVEMBER)["spent"] == 0


class TestLeaving:
    def test_the_last_period_ends_there_with_its_share_of_the_fee(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE)
        ledger.customer(plan="fee")
        ledger.use(tokens_in=100, at=NOVEMBER + 3 * DAY)
        assert close_customer(ledger.database, "ada", MIDDLE) == MIDDLE
        ledger.close(MIDDLE)
        # 100 tokens at a cent, half of 99 dollars.
        assert spans(ledger) == [(NOVEMBER, MIDDLE, 100 + 4_950)]
        assert reconcile(ledger.database, None, now=JANUARY).ok
        ledger.close(JANUARY)
        assert len(ledger.invoices()) == 1

    def test_periods_that_nobody_had_looked_at_are_billed_as_well(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE)
        ledger.customer(plan="fee")
        close_customer(ledger.database, "ada", JANUARY + 31 * DAY, at=DECEMBER + 15 * DAY + 12 * timedelta(hours=1))
        ledger.close(JANUARY)
        assert [total for _, _, total in spans(ledger)] == [9_900, 4_950]  # 15.5 of 31 days

    def test_the_same_again_changes_nothing(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE)
        ledger.customer(plan="fee")
        close_customer(ledger.database, "ada", MIDDLE)
        assert close_customer(ledger.database, "ada", JANUARY) == MIDDLE

    def test_what_runs_while_the_customer_leaves_is_still_billed(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE)
        ledger.customer(plan="fee")
        late = MIDDLE + timedelta(seconds=2)  # by the clock of another host
        ledger.use(tokens_in=7, at=late)
        assert close_customer(ledger.database, "ada", MIDDLE) == late + INSTANT
        ledger.close(DECEMBER)
        assert ledger.lines()[0][4] == 7
        assert reconcile(ledger.database, None, now=JANUARY).ok

    def test_late_usage_is_billed_without_another_fee(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE)
        ledger.customer(plan="fee")
        close_customer(ledger.database, "ada", MIDDLE)
        ledger.close(MIDDLE)
        ledger.use(tokens_in=7, at=NOVEMBER + DAY, stored=DECEMBER)
        ledger.close(JANUARY)
        assert ledger.lines() == [("base_fee", None, None, Decimal(1), 4_950), ("late_usage", "*", "*", Decimal(7), 7)]

    @pytest.mark.parametrize("at", [MIDDLE + DAY, NOVEMBER - DAY, NOVEMBER + 2 * DAY])
    def test_an_instant_that_cannot_be_is_refused(self, ledger: Ledger, at: datetime) -> None:
        """To come, before the customer was there, and before something that was used."""
        ledger.plan(WITH_FEE)
        ledger.customer(plan="fee")
        ledger.use(tokens_in=7, at=NOVEMBER + 3 * DAY)
        with pytest.raises(InvalidInput):
            close_customer(ledger.database, "ada", MIDDLE, at)
        assert ledger.rows("SELECT status, closed_at FROM customers") == [{"status": "active", "closed_at": None}]

    def test_the_command_says_where_the_last_period_ends(self, ledger: Ledger) -> None:
        ledger.plan(WITH_FEE)
        ledger.customer(plan="fee")
        terminal = Terminal(ledger, MIDDLE)
        said = terminal("customers", "close", "ada", "--at", "2026-11-10").stdout
        assert said == "ada: closed, the last period ends at 2026-11-10T00:00:00Z\n"
        assert terminal("customers", "close", "eve", exit_code=2).stderr == "tollkeeper: no customer 'eve'\n"


def test_a_year_is_one_period_through_the_whole_path(ledger: Ledger) -> None:
    ledger.plan(WITH_FEE.replace('base_fee = "99.00"', 'base_fee = "365.00"\ninterval = "year"'))
    first, after = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    ledger.customer(plan="fee", since=first)
    ledger.use(tokens_in=100, at=first)
    ledger.use(tokens_in=50, at=after - INSTANT)
    ledger.use(tokens_in=1, at=after)
    # 73 days are a fifth of the year: at that rate 750 by its end.
    assert preview(ledger.database, "ada", at=first + 73 * DAY).projected_usage_amount == 750
    assert ledger.close(after - INSTANT).closed == 0
    ledger.close(after)
    assert spans(ledger) == [(first, after, 150 + 36_500)]
    close_customer(ledger.database, "ada", after + 73 * DAY)
    ledger.close(after + 73 * DAY)
    assert spans(ledger)[1] == (after, after + 73 * DAY, 1 + 7_300)  # a fifth of the fee
