"""Credits: drawn at the close as lines of their own, in order, never twice and never below zero."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, TIERED, WITH_FEE, Ledger
from integration.money.terminal import Terminal
from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.services.crediting import expire_credits, grant, list_grants, tokens_needed
from tollkeeper.services.previewing import preview

MIDDLE = NOVEMBER + timedelta(days=15)
FEBRUARY = JANUARY + timedelta(days=31)


def give(ledger: Ledger, amount: int, unit: str = "usd", **more: Any) -> str:
    return str(grant(ledger.database, "ada", unit=unit, amount=amount, **{"now": NOVEMBER, **more}).id)


def credit_lines(ledger: Ledger) -> list[int]:
    return [amount for kind, _, _, _, amount in ledger.lines() if kind == "credit"]


def left(ledger: Ledger) -> list[int]:
    return [one.balance for one in list_grants(ledger.database, "ada")]


def entries(ledger: Ledger) -> list[tuple[str, int]]:
    return [(row["kind"], row["amount"]) for row in ledger.rows("SELECT * FROM credit_entries ORDER BY position")]


def test_prepaid_money_pays_for_usage_and_the_base_fee_and_the_rest_stays(ledger: Ledger) -> None:
    ledger.plan(WITH_FEE)
    ledger.customer(plan="fee")
    give(ledger, 15_000)
    ledger.use(tokens_in=100)
    seen = preview(ledger.database, "ada", at=MIDDLE)
    ledger.close()
    # 100 tokens at a cent and 99 dollars: 10,000 of 15,000.
    assert credit_lines(ledger) == [-10_000]
    assert [line.amount for line in seen.lines] == [100, 9_900, -10_000]
    assert (seen.total_amount, seen.usage_amount, ledger.invoices()[0]["total_amount"]) == (0, 100, 0)
    ledger.close(JANUARY)
    assert (credit_lines(ledger), left(ledger)) == ([-10_000, -5_000], [0])
    assert ledger.invoices()[1]["total_amount"] == 4_900
    assert entries(ledger) == [("grant", 15_000), ("draw", -10_000), ("draw", -5_000)]


def test_a_preview_draws_nothing(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    give(ledger, 500)
    ledger.use(tokens_in=100)
    preview(ledger.database, "ada", at=MIDDLE)
    assert (left(ledger), entries(ledger)) == ([500], [("grant", 500)])


def test_the_lowest_priority_goes_first_then_what_expires_soonest(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    give(ledger, 10)
    give(ledger, 10, expires_at=JANUARY)
    give(ledger, 10, priority=1)
    ledger.use(tokens_in=15)
    ledger.close()
    assert (credit_lines(ledger), left(ledger)) == ([-10, -5], [10, 5, 0])


def test_what_expires_pays_for_its_last_period_and_is_gone_after_it(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    give(ledger, 10, expires_at=MIDDLE)
    ledger.use(tokens_in=4)
    ledger.use(tokens_in=4, at=DECEMBER)
    ledger.close(JANUARY)
    assert [invoice["total_amount"] for invoice in ledger.invoices()] == [0, 4]
    assert entries(ledger) == [("grant", 10), ("draw", -4), ("expiry", -6)]


def test_granted_tokens_come_off_the_dearest_end_as_a_line_and_leave_the_usage_lines_alone(ledger: Ledger) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    give(ledger, 300_000, "tokens")
    ledger.use(tokens_in=500_000)
    ledger.close()
    # 400,000 past the free tier at 0.3 cents for 1,000 = 120; without 300,000 of them 30. With 298,334 tokens it is 30.4998
    # and so 30 as well, hence the other 1,666 are kept.
    assert [(kind, amount) for kind, _, _, _, amount in ledger.lines()] == [
        ("usage", 0),
        ("usage", 120),
        ("credit", -90),
    ]
    assert (left(ledger), ledger.invoices()[0]["total_amount"], ledger.period()["spent"]) == ([1_666], 30, 120)


def test_no_more_tokens_are_drawn_than_save_anything(ledger: Ledger) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    give(ledger, 300_000, "tokens")
    ledger.use(tokens_in=200_000)
    ledger.close()
    # 100,000 past the free tier cost 30 cents; the last third of a cent or less is rounded away, so not all are needed.
    [tariff] = [plan.tariff for plan in parse_plans(TIERED)]
    needed = tokens_needed(tariff, {("gpt-4o", "input"): 200_000}, 300_000)
    assert 98_000 < needed <= 100_000
    assert (credit_lines(ledger), left(ledger)) == ([-30], [300_000 - needed])


def test_tokens_that_save_nothing_are_not_drawn(ledger: Ledger) -> None:
    ledger.plan(TIERED)
    ledger.customer(plan="tiered")
    give(ledger, 300_000, "tokens")
    ledger.use(tokens_in=50_000)
    ledger.close()
    assert (credit_lines(ledger), left(ledger)) == ([], [300_000])


@pytest.mark.parametrize(
    ("how", "december"),
    [
        ({}, -10),  # 10 each month, what is left is gone
        ({"carries_over": True}, -16),  # 6 left of November
        ({"carries_over": True, "at_most": 12}, -12),
    ],
)
def test_a_monthly_grant_comes_anew_and_carries_over_as_it_says(
    ledger: Ledger, how: dict[str, Any], december: int
) -> None:
    ledger.plan(CENT)
    ledger.customer()
    give(ledger, 10, every="month", **how)
    ledger.use(tokens_in=4)
    ledger.use(tokens_in=100, at=DECEMBER)
    ledger.use(tokens_in=100, at=JANUARY)
    ledger.close(FEBRUARY)
    assert credit_lines(ledger) == [-4, december, -10]
    assert left(ledger) == [0]


def test_months_in_which_nothing_was_billed_are_caught_up_with(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    give(ledger, 10, every="month", carries_over=True)
    ledger.use(tokens_in=100, at=JANUARY)
    ledger.close(FEBRUARY)
    assert credit_lines(ledger) == [-30]
    assert entries(ledger) == [("grant", 10), ("renewal", 10), ("renewal", 10), ("draw", -30)]


def test_closes_at_once_draw_once(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    give(ledger, 10)
    ledger.use(tokens_in=8)
    ledger.use(tokens_in=8, at=DECEMBER)
    threads = [threading.Thread(target=ledger.close, args=(when,)) for when in (DECEMBER, JANUARY) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (credit_lines(ledger), left(ledger)) == ([-8, -2], [0])


def test_the_database_itself_refuses_to_overdraw_and_to_change_what_was_written(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    give(ledger, 10)
    with pytest.raises(DBAPIError, match="credit_grants_not_overdrawn"):
        ledger.run(
            "INSERT INTO credit_entries (grant_id, kind, amount, period_start, created_at) "
            "SELECT id, 'expiry', -11, granted_at, granted_at FROM credit_grants"
        )
    for statement in ("UPDATE credit_entries SET amount = 20", "DELETE FROM credit_entries"):
        with pytest.raises(DBAPIError, match="append-only"):
            ledger.run(statement)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"unit": "eur"}, "unit"),
        ({"expires_at": NOVEMBER}, "expires"),
        ({"carries_over": True}, "carry_over"),
        ({"every": "month", "carries_over": True, "at_most": 5}, "at_most"),
        ({"priority": -1}, "priority"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(ledger: Ledger, more: dict[str, Any], field: str) -> None:
    ledger.plan(CENT)
    ledger.customer()
    with pytest.raises(InvalidInput) as caught:
        give(ledger, **{"amount": 10, **more})
    assert caught.value.field == field


def test_the_commands_grant_and_list(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    terminal = Terminal(ledger, MIDDLE)
    said = terminal("credits", "grant", "ada", "--amount", "50.00", "--priority", "10").stdout.splitlines()
    terminal("credits", "grant", "ada", "--tokens", "1000", "--every", "month", "--carry-over", "--at-most", "5000")
    money, tokens = terminal.json("credits", "list", "ada")
    assert said == ["ada: granted $50.00", money["id"]]
    assert (money["unit"], money["balance"], money["priority"]) == ("usd", 5_000, 10)
    assert (tokens["unit"], tokens["every"], tokens["at_most"]) == ("tokens", "month", 5_000)
    assert "1,000 tokens" in terminal("credits", "list", "ada").stdout
    assert terminal("credits", "grant", "ada", exit_code=2).stderr.startswith("tollkeeper: expected either")
    assert "amount of usd" in terminal("credits", "grant", "ada", "--amount", "5.001", exit_code=2).stderr
    assert terminal("credits", "list", "bob", exit_code=2).stderr == "tollkeeper: no customer 'bob'\n"


def test_nobody_cannot_be_granted_anything(ledger: Ledger) -> None:
    with pytest.raises(NotFound):
        give(ledger, 10)


def test_credit_that_expired_is_taken_out_also_where_there_is_no_invoice_and_not_before_late_usage_had_its_time(
    ledger: Ledger,
) -> None:
    ledger.plan(CENT)
    ledger.customer()
    give(ledger, 500, expires_at=MIDDLE)
    give(ledger, 300)
    assert expire_credits(ledger.database, MIDDLE + timedelta(days=39)) == 0
    ledger.use(tokens_in=100)  # November is open, and can still be paid with it
    assert expire_credits(ledger.database, MIDDLE + timedelta(days=40)) == 0
    ledger.run("DELETE FROM usage_periods")
    for count in (1, 0):
        assert expire_credits(ledger.database, MIDDLE + timedelta(days=40)) == count
    assert left(ledger) == [0, 300]
    assert entries(ledger) == [("grant", 500), ("grant", 300), ("expiry", -500)]
    [told] = ledger.rows("SELECT before, after FROM audit_trail WHERE kind = 'credit.expired'")
    assert (told["before"], told["after"]) == ({"balance": 500}, {"balance": 0})
