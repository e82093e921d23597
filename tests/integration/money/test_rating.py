"""Usage without a price: never free, never lost, billed once its plan has a price."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from integration.closing.ledger import DECEMBER, JANUARY, NOVEMBER, Ledger
from integration.money.terminal import Terminal
from tollkeeper.domain.pricing import Price, Tariff, Tier
from tollkeeper.domain.usage import Usage
from tollkeeper.services.previewing import preview
from tollkeeper.services.rating import Rated, count_waiting, queue, rate_unpriced, with_prices
from tollkeeper.services.reconciling import reconcile
from tollkeeper.services.reversing import reverse
from tollkeeper.storage.schema import waiting_for_a_person
from tollkeeper.storage.standing import backlog
from tollkeeper.storage.unpriced import UnpricedCount

MIDDLE = NOVEMBER + timedelta(days=15)
KNOWN = '[plans.cent]\ncurrency = "usd"\n[[plans.cent.prices]]\nmodel = "known"\nprice = "0.01"\n'
BOTH = KNOWN + '[[plans.cent.prices]]\nmodel = "new*"\nprice = "0.02"\n'


@pytest.fixture
def flagged(ledger: Ledger) -> Ledger:
    """Ten tokens with a price and seven without; nothing is reported, so that notes are about prices alone."""
    ledger.collect = "invoices"
    ledger.plan(KNOWN)
    ledger.customer()
    ledger.use(tokens_in=10, model="known")
    ledger.use(tokens_in=3, tokens_out=4, model="new-model")
    return ledger


def unpriced(ledger: Ledger) -> list[tuple[str, int, int, str]]:
    return [(one.model_id, one.events, one.tokens, one.status) for one in queue(ledger.database)]


def costs(ledger: Ledger) -> dict[str, Decimal]:
    rows = ledger.rows("SELECT model_id, sum(cost_units) AS cost FROM usage_events GROUP BY model_id")
    return {row["model_id"]: row["cost"] for row in rows}


def test_usage_without_a_price_waits_in_the_queue(flagged: Ledger) -> None:
    assert unpriced(flagged) == [("new-model", 1, 7, "open")]
    assert rate_unpriced(flagged.database, MIDDLE) == Rated(events=0, periods=0, left=1)


def test_a_price_that_is_applied_now_rates_the_open_period(flagged: Ledger) -> None:
    flagged.plan(BOTH, MIDDLE, immediate=True)
    assert unpriced(flagged) == []
    assert flagged.period()["spent"] == 10 + 14


def test_a_price_for_later_periods_rates_the_open_one_when_asked_to(flagged: Ledger) -> None:
    flagged.plan(BOTH.replace('"0.01"', '"0.09"'), MIDDLE)  # what had a price keeps it
    assert flagged.period()["spent"] == 10

    assert rate_unpriced(flagged.database, MIDDLE) == Rated(events=1, periods=1, left=0)

    assert unpriced(flagged) == []
    assert (flagged.period()["spent"], costs(flagged)) == (24, {"known": Decimal(10), "new-model": Decimal(14)})
    flagged.use(tokens_in=1, model="new-model-2")  # the pattern holds for what comes after, too
    assert preview(flagged.database, "ada", at=MIDDLE).usage_amount == flagged.period()["spent"] == 26
    flagged.use(tokens_in=1, model="known", at=DECEMBER)
    assert flagged.period(start=DECEMBER)["spent"] == 9  # the next period goes by the plan's own newest version


def test_a_closed_period_is_rated_through_late_usage(flagged: Ledger) -> None:
    flagged.close()
    [invoice] = flagged.invoices()
    assert (invoice["total_amount"], invoice["alarm"]) == (10, "no price for new-model input (3), new-model output (4)")
    flagged.plan(BOTH, DECEMBER)

    assert rate_unpriced(flagged.database, DECEMBER) == Rated(events=1, periods=1, left=0)

    waits = f"invoice {invoice['id']} waits to be collected"
    assert reconciled(flagged) == (True, ["late usage waits for the next invoice", waits])
    flagged.close(JANUARY)
    first, second = flagged.invoices()
    assert (first["total_amount"], first["alarm"], second["total_amount"]) == (10, None, 14)
    assert flagged.lines()[-1] == ("late_usage", "new*", "*", Decimal(7), 14)
    assert reconciled(flagged)[0]
    assert rate_unpriced(flagged.database, JANUARY) == Rated(events=0, periods=0, left=0)


def reconciled(ledger: Ledger) -> tuple[bool, list[str]]:
    found = reconcile(ledger.database, None, now=JANUARY + timedelta(days=1))
    [november] = [row for row in found.rows if row.period.start == NOVEMBER]
    return found.ok, november.notes


def test_what_still_has_no_price_is_shown_by_reconcile_and_is_no_difference(flagged: Ledger) -> None:
    flagged.close()
    ok, notes = reconciled(flagged)
    assert ok
    assert {"new-model input: 3 have no price", "new-model output: 4 have no price"} <= set(notes)


def test_an_open_period_of_another_model_is_left_alone(flagged: Ledger) -> None:
    flagged.use(tokens_in=1, model="stranger")
    flagged.plan(BOTH, MIDDLE)
    assert rate_unpriced(flagged.database, MIDDLE) == Rated(events=1, periods=1, left=1)
    assert unpriced(flagged) == [("stranger", 1, 1, "open")]


def tariff(*prices: tuple[str, str]) -> Tariff:
    return Tariff("usd", prices=tuple(Price(model, meter, (Tier(None, Decimal(1)),)) for model, meter in prices))


@pytest.mark.parametrize(
    ("had", "newer", "expected"),
    [
        ([("known", "*")], [("new*", "*")], [("known", "*"), ("new*", "*")]),
        # The pattern would take known-b from k*, which has priced it: so it is narrowed down.
        ([("k*", "*")], [("*n*w*", "*")], [("k*", "*"), ("new-model", "*")]),
        # As exact as *-b, and some model could match both: narrowed down.
        ([("*-b", "*")], [("ne*", "*")], [("*-b", "*"), ("new-model", "*")]),
        # What the newer tariff charges for others is not taken over.
        ([("known*", "*")], [("other", "*"), ("*", "*")], [("known*", "*"), ("*", "*")]),
    ],
)
def test_a_price_is_added_without_taking_anything_from_others(
    had: list[tuple[str, str]], newer: list[tuple[str, str]], expected: list[tuple[str, str]]
) -> None:
    totals: dict[tuple[str, str], Any] = {("known-b", "input"): 5, ("new-model", "input"): 3}
    missing = [("new-model", "input")]
    after = with_prices(tariff(*had), tariff(*newer), missing, totals)
    assert [(price.model, price.meter) for price in after.prices] == expected
    assert after.price_of(missing[0]) is not None


def test_the_commands_list_what_waits_and_rate_it(flagged: Ledger) -> None:
    terminal = Terminal(flagged, MIDDLE)
    [waiting] = terminal.json("usage", "unpriced")
    assert (waiting["user_id"], waiting["model_id"], waiting["tokens"]) == ("ada", "new-model", 7)
    assert "new-model" in terminal("usage", "unpriced").stdout
    rated = terminal("usage", "rate-unpriced", exit_code=1).stdout
    assert rated == "rated 0 events in 0 periods, 1 still have no price\n"
    flagged.plan(BOTH, MIDDLE)
    rated = terminal("usage", "rate-unpriced").stdout
    assert rated == "rated 1 events in 1 periods, 0 still have no price\n"
    assert terminal.json("usage", "unpriced") == []


def test_the_doctor_warns_of_it(flagged: Ledger) -> None:
    checks = Terminal(flagged, MIDDLE).json("doctor", exit_code=1)["checks"]  # there is no Redis behind this terminal
    details = [check["detail"] for check in checks if check["name"] == "attention"]
    assert details == ["1 events without a price (tollkeeper usage unpriced)"]


def test_a_request_to_several_models_waits_under_those_that_have_no_price(flagged: Ledger) -> None:
    parts = (Usage("known", 5, 5), Usage("newer", 20, 1), Usage("new-model", 1, 0))
    mixed = flagged.use(tokens_in=26, tokens_out=6, model="known", parts=parts)
    assert unpriced(flagged) == [("new-model", 2, 8, "open"), ("newer", 1, 21, "open")]
    assert count_waiting(flagged.database) == UnpricedCount(events=2, customers=1)

    flagged.plan(KNOWN + '[[plans.cent.prices]]\nmodel = "newer"\nprice = "0.02"\n', MIDDLE)
    assert rate_unpriced(flagged.database, MIDDLE) == Rated(events=0, periods=1, left=2)
    assert unpriced(flagged) == [("new-model", 2, 8, "open")]
    reverse(flagged.database, mixed.id, by="grace", reason="a test", now=MIDDLE)
    assert (unpriced(flagged), count_waiting(flagged.database).events) == ([("new-model", 1, 7, "open")], 1)


def test_reconcile_and_doctor_say_in_all_what_has_no_price(flagged: Ledger) -> None:
    terminal = Terminal(flagged, MIDDLE)
    said = "NO PRICE 1 events of 1 customers: billed by nobody until they have one; see: tollkeeper usage unpriced\n"
    assert said in terminal("reconcile").stdout
    assert terminal.json("reconcile")["unpriced"] == {"events": 1, "customers": 1}
    with flagged.database.transaction() as connection:
        assert waiting_for_a_person(connection)["events without a price (tollkeeper usage unpriced)"] == 1
        assert (backlog(connection, MIDDLE)["unpriced_events"], backlog(connection, MIDDLE)["unpriced_customers"]) == (
            1,
            1,
        )
