"""A bill that is out of all proportion waits for a person; once released it is billed as it stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, Ledger
from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.domain.sanity import SanityBound
from tollkeeper.services.closing import ClosingSummary
from tollkeeper.services.crediting import grant, list_grants
from tollkeeper.services.releasing import list_parked, release

MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in range(7, 13)]
BOUND = SanityBound(multiple=10, floor=5_000)


def some_months(ledger: Ledger, *tokens: int) -> None:
    """A month of usage for each figure, November being the last; one token is one cent."""
    ledger.plan(CENT, now=MONTHS[0])
    ledger.customer(since=MONTHS[0])
    for month, count in zip(MONTHS[-1 - len(tokens) : -1], tokens, strict=True):
        ledger.use(tokens_in=count, at=month)
        ledger.close(as_of=MONTHS[MONTHS.index(month) + 1], sanity=BOUND)


def test_a_bill_beyond_the_bound_is_parked_until_somebody_releases_it(ledger: Ledger) -> None:
    some_months(ledger, 600, 900, 700, 9_001)
    assert [invoice["total_amount"] for invoice in ledger.invoices()] == [600, 900, 700]
    [parked] = list_parked(ledger.database)
    assert (parked.user_id, parked.period_start, parked.spent) == ("ada", NOVEMBER, 9_001)
    assert parked.parked_reason == "$90.01 is more than 10 times the largest of the last 3 invoices, $9.00"
    assert ledger.close(sanity=BOUND).closed == 0, "nobody has looked yet"

    now = JANUARY
    why = release(ledger.database, "ada", NOVEMBER, by="eve", reason="they launched", now=now)

    assert why == parked.parked_reason
    assert ledger.close(sanity=BOUND) == ClosingSummary(closed=1, invoices=1, already=3)
    assert ledger.invoices()[-1]["total_amount"] == 9_001
    [act] = ledger.rows("SELECT actor, user_id, reason, at FROM audit_trail WHERE kind = 'period.released'")
    assert act == {"actor": "eve", "user_id": "ada", "reason": "they launched", "at": now}


@pytest.mark.parametrize("tokens", [(600, 900, 9_001), (6, 9, 7, 5_000), (900, 6, 7, 9_000)])
def test_too_short_a_history_a_small_bill_and_one_within_the_bound_are_billed(
    ledger: Ledger, tokens: tuple[int, ...]
) -> None:
    some_months(ledger, *tokens)
    assert [invoice["total_amount"] for invoice in ledger.invoices()] == list(tokens)


def test_periods_that_are_closed_together_are_history_for_one_another(ledger: Ledger) -> None:
    ledger.plan(CENT, now=MONTHS[0])
    ledger.customer(since=MONTHS[0])
    for month, count in zip(MONTHS, (600, 600, 600, 90_000), strict=False):
        ledger.use(tokens_in=count, at=month)
    assert ledger.close(sanity=BOUND) == ClosingSummary(closed=3, invoices=3, parked=1)


def test_what_is_parked_for_its_amount_draws_no_credit(ledger: Ledger) -> None:
    some_months(ledger, 600, 900, 700)
    grant(ledger.database, "ada", unit="usd", amount=100, now=DECEMBER)
    ledger.use(tokens_in=9_001, at=DECEMBER)
    ledger.close(as_of=JANUARY, sanity=BOUND)
    assert [one.balance for one in list_grants(ledger.database, "ada")] == [100]
    release(ledger.database, "ada", DECEMBER, by="eve", reason="right", now=JANUARY)
    ledger.close(as_of=JANUARY, sanity=BOUND)
    assert [one.balance for one in list_grants(ledger.database, "ada")] == [0]
    assert ledger.invoices()[-1]["total_amount"] == 8_901


def test_releasing_a_period_whose_sums_do_not_agree_does_not_bill_it(ledger: Ledger) -> None:
    some_months(ledger)
    ledger.use(tokens_in=10)
    ledger.run("UPDATE usage_periods SET events = 7")
    ledger.close()
    release(ledger.database, "ada", NOVEMBER, by="eve", reason="mended, I thought", now=JANUARY)
    assert ledger.close() == ClosingSummary(parked=1)
    ledger.run("UPDATE usage_periods SET events = 1")
    release(ledger.database, "ada", NOVEMBER, by="eve", reason="mended", now=JANUARY)
    assert ledger.close() == ClosingSummary(closed=1, invoices=1)


def test_only_what_is_parked_can_be_released_and_not_without_a_name_and_a_reason(ledger: Ledger) -> None:
    some_months(ledger, 600)
    with pytest.raises(NotFound):
        release(ledger.database, "ada", NOVEMBER, by="eve", reason="right", now=JANUARY)
    with pytest.raises(NotFound):
        release(ledger.database, "bob", NOVEMBER + timedelta(days=1), by="eve", reason="right", now=JANUARY)
    for by, reason in (("", "right"), ("eve", "")):
        with pytest.raises(InvalidInput):
            release(ledger.database, "ada", NOVEMBER, by=by, reason=reason, now=JANUARY)
