"""Terms of one customer's own: in force when a plan's would be, and for nobody else."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from integration.closing.ledger import CENT, DECEMBER, JANUARY, NOVEMBER, Ledger
from integration.money.terminal import Terminal
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.own_terms import OwnTerms
from tollkeeper.domain.plan_file import parse_prices
from tollkeeper.services.moving import move_customer
from tollkeeper.services.overriding import override
from tollkeeper.services.showing import usage_of
from tollkeeper.storage.gate import Ask, Gate
from tollkeeper.storage.memory import Memory

MIDDLE = NOVEMBER + timedelta(days=15)
HALF = OwnTerms(discount_percent=Decimal(50))
THREE_CENTS = OwnTerms(prices=parse_prices('[[prices]]\nmodel = "gpt-4o"\nprice = "0.03"', "usd"))


def give(ledger: Ledger, terms: OwnTerms, user_id: str = "ada", *, immediate: bool = False) -> None:
    override(ledger.database, user_id, MIDDLE, given=terms, immediate=immediate)


def totals(ledger: Ledger, user_id: str = "ada") -> list[int]:
    return [invoice["total_amount"] for invoice in ledger.invoices(user_id)]


@pytest.fixture
def two(ledger: Ledger) -> Ledger:
    """Ada and Bob on one plan, ten tokens at a cent each."""
    ledger.plan(CENT)
    for user_id in ("ada", "bob"):
        ledger.customer(user_id)
        ledger.use(user_id, tokens_in=10)
    return ledger


def cap_at_the_gate(ledger: Ledger, user_id: str) -> int | None:
    async def ask() -> int | None:
        gate = Gate(ledger.database.url, None, Memory(), budget_seconds=5)
        seen = await gate.ask(Ask(uuid4(), MIDDLE, MIDDLE + timedelta(minutes=1), user_id))
        gate.discard()
        return seen.account.plan.spend_cap

    return asyncio.run(ask())


def test_a_cap_of_ones_own_is_in_force_at_the_next_request(two: Ledger) -> None:
    give(two, OwnTerms(spend_cap=5))
    assert [cap_at_the_gate(two, user_id) for user_id in ("ada", "bob")] == [5, None]
    shown = usage_of(two.database, "ada", MIDDLE)
    assert (shown.spend_cap, shown.percent_of_cap) == (5, 200)
    override(two.database, "ada", MIDDLE, given=OwnTerms(), clear=frozenset({"cap"}))
    assert cap_at_the_gate(two, "ada") is None


def test_a_discount_counts_from_the_next_period_on_and_for_nobody_else(two: Ledger) -> None:
    give(two, HALF)
    for user_id in ("ada", "bob"):
        two.use(user_id, tokens_in=10, at=DECEMBER)
    two.close(JANUARY)
    assert (totals(two), totals(two, "bob")) == ([10, 5], [10, 10])


def test_with_now_it_counts_for_the_open_period_too(two: Ledger) -> None:
    give(two, THREE_CENTS, immediate=True)
    assert (two.period()["spent"], two.period("bob")["spent"]) == (30, 10)
    two.use(tokens_in=1)
    two.use(tokens_in=1, model="other")  # the plan's own price still holds for it
    assert two.period()["spent"] == 34
    two.close()
    assert (totals(two), totals(two, "bob")) == ([34], [10])


def test_prices_of_ones_own_outlast_a_new_version_of_the_plan(two: Ledger) -> None:
    give(two, THREE_CENTS)
    two.plan(CENT.replace('"0.01"', '"0.05"'), MIDDLE + timedelta(days=1))
    for user_id in ("ada", "bob"):
        two.use(user_id, tokens_in=1, at=DECEMBER)
        two.use(user_id, tokens_in=1, at=DECEMBER, model="other")
    two.close(JANUARY)
    # Three cents and the plan's new five; twice five for Bob.
    assert (totals(two)[1], totals(two, "bob")[1]) == (8, 10)


def test_they_come_along_to_another_plan(two: Ledger) -> None:
    two.plan(CENT.replace("plans.cent", "plans.dear").replace('"0.01"', '"0.10"'))
    give(two, THREE_CENTS)
    move_customer(two.database, "ada", "dear", MIDDLE)
    two.use(tokens_in=1, at=DECEMBER)
    two.use(tokens_in=1, at=DECEMBER, model="other")
    assert two.period(start=DECEMBER)["spent"] == 13


def test_cleared_terms_give_way_to_the_plans_own(two: Ledger) -> None:
    give(two, THREE_CENTS, immediate=True)
    override(two.database, "ada", MIDDLE, given=OwnTerms(), clear=frozenset({"prices"}), immediate=True)
    assert two.period()["spent"] == 10


def test_what_was_drafted_stays(two: Ledger) -> None:
    two.close()
    override(two.database, "ada", DECEMBER, given=HALF, immediate=True)
    assert (totals(two), two.period()["plan_version"]) == ([10], 1)


def test_a_plan_keeps_its_currency_while_somebody_has_prices_in_it(ledger: Ledger) -> None:
    ledger.plan(CENT)
    ledger.customer()
    give(ledger, THREE_CENTS)
    with pytest.raises(InvalidInput, match="customer ada has prices of their own"):
        ledger.plan(CENT.replace('"usd"', '"eur"'))
    ledger.plan(CENT.replace("plans.cent", "plans.euro").replace('"usd"', '"eur"'))
    with pytest.raises(InvalidInput, match="own cap and prices"):
        move_customer(ledger.database, "ada", "euro", MIDDLE)


def test_the_command_takes_gives_and_shows_terms(two: Ledger, tmp_path: Path) -> None:
    terminal = Terminal(two, MIDDLE)
    assert (
        terminal("customers", "override", "ada").stdout
        == "cap       the plan's\ndiscount  the plan's\nprices    the plan's\n"
    )
    file = tmp_path / "prices.toml"
    file.write_text('[[prices]]\nmodel = "gpt-4o"\nprice = "0.02"\n')
    said = terminal(
        "customers", "override", "ada", "--cap", "7.50", "--discount", "25", "--prices", str(file), "--now"
    ).stdout
    assert said == "cap       $7.50\ndiscount  25 %\nprices    gpt-4o *\n"
    # Ten tokens at two cents; a quarter off.
    assert terminal.json("invoices", "preview", "ada")["total_amount"] == 15
    assert terminal("customers", "override", "ada", "--clear", "cap").stdout.startswith("cap       the plan's")
    for wrong in (("--cap", "-1"), ("--discount", "101"), ("--discount", "ten")):
        assert "expected" in terminal("customers", "override", "ada", *wrong, exit_code=2).stderr
    file.write_text("[[prices]]\nprice = 0.02\n")
    assert "prices[0].price" in terminal("customers", "override", "ada", "--prices", str(file), exit_code=2).stderr
    assert terminal("customers", "override", "eve", exit_code=2).stderr == "tollkeeper: no customer 'eve'\n"
