"""Credits: which grant is drawn on first, and that none goes below zero."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.credit import TOKENS, CreditOverdrawn, Draw, Grant, Recurring, balance, credit_line, draw_down
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import AmountTooLarge
from tollkeeper.domain.period import Period


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NOVEMBER = Period(at("2026-11-01"), at("2026-12-01"))


def grant(grant_id: str, left: int, unit: str = "usd", **more: Any) -> Grant:
    return Grant(grant_id, unit, left, **{"granted_at": at("2026-10-01"), **more})


def drawn(grants: list[Grant], needed: int, unit: str = "usd") -> list[tuple[str, int, int]]:
    return [(draw.grant_id, draw.amount, draw.left) for draw in draw_down(grants, needed, unit, NOVEMBER)]


@pytest.mark.parametrize(
    ("needed", "expected"),
    [
        (0, []),
        (-5, []),  # a negative total draws nothing
        (1, [("a", 1, 99)]),
        (100, [("a", 100, 0)]),
        (101, [("a", 100, 0), ("b", 1, 49)]),
        (150, [("a", 100, 0), ("b", 50, 0)]),
        (1_000, [("a", 100, 0), ("b", 50, 0)]),  # as much as there is
    ],
)
def test_grants_are_drawn_on_one_after_the_other(needed: int, expected: list[tuple[str, int, int]]) -> None:
    assert drawn([grant("b", 50), grant("a", 100)], needed) == expected


def test_priority_goes_before_expiry_expiry_before_age_and_age_before_the_id() -> None:
    grants = [
        grant("e", 1),
        grant("d", 1, granted_at=at("2026-09-01")),
        grant("c", 1, expires_at=at("2027-02-01")),
        grant("b", 1, expires_at=at("2027-01-01")),
        grant("a", 1, priority=49),
        grant("f", 1),
    ]
    order = [grant_id for grant_id, _, _ in drawn(grants, 99)]
    assert order == ["a", "b", "c", "d", "e", "f"]
    assert [grant_id for grant_id, _, _ in drawn(grants[::-1], 99)] == order


@pytest.mark.parametrize(
    ("terms", "counts"),
    [
        ({}, True),
        ({"expires_at": at("2026-11-01")}, False),  # expired as the period began
        ({"expires_at": at("2026-11-01T00:00:00.000001")}, True),  # it still pays for the period it expires in
        ({"expires_at": at("2026-12-01")}, True),
        ({"granted_at": at("2026-12-01")}, False),
        ({"granted_at": at("2026-11-30T23:59:59")}, True),
    ],
)
def test_a_grant_counts_for_the_periods_in_which_it_is_good(terms: dict[str, Any], counts: bool) -> None:
    assert grant("a", 5, **terms).counts_for(NOVEMBER) is counts
    assert bool(drawn([grant("a", 5, **terms)], 5)) is counts


def test_only_grants_of_the_same_unit_pay() -> None:
    grants = [grant("euros", 5, "eur"), grant("tokens", 5, TOKENS), grant("dollars", 5)]
    assert drawn(grants, 5) == [("dollars", 5, 0)]
    assert drawn(grants, 5, TOKENS) == [("tokens", 5, 0)]


def test_money_is_drawn_in_the_currency_s_step_so_that_lines_stay_on_it() -> None:
    assert drawn([grant("a", 1_005, "kwd"), grant("b", 100, "kwd")], 1_050, "kwd") == [("a", 1_000, 5), ("b", 50, 50)]
    assert drawn([grant("a", 199, "isk")], 500, "isk") == [("a", 100, 99)]
    assert drawn([grant("a", 199, TOKENS)], 500, TOKENS) == [("a", 199, 0)]


@given(st.lists(st.integers(0, 1_000), max_size=8), st.integers(0, 5_000))
def test_no_more_is_drawn_than_is_needed_or_there(lefts: list[int], needed: int) -> None:
    grants = [grant(str(number), left) for number, left in enumerate(lefts)]
    draws = draw_down(grants, needed, "usd", NOVEMBER)
    assert sum(draw.amount for draw in draws) == min(needed, sum(lefts))
    assert all(draw.amount > 0 and draw.left >= 0 for draw in draws)


@pytest.mark.parametrize(
    ("rule", "left", "renewed"),
    [
        (Recurring(100), 40, 100),  # what is left expires
        (Recurring(100, carries_over=True), 40, 140),
        (Recurring(100, carries_over=True, at_most=120), 40, 120),
        (Recurring(100, carries_over=True, at_most=200), 40, 140),
        (Recurring(100, carries_over=True, at_most=50), 40, 100),  # the new amount is never cut
        (Recurring(100, carries_over=True), 0, 100),
    ],
)
def test_a_recurring_grant_expires_or_carries_over_as_it_says(rule: Recurring, left: int, renewed: int) -> None:
    assert rule.renewed(left) == renewed


def test_a_ledger_never_goes_below_zero() -> None:
    assert balance("g", [100, -40, -60, 10]) == 10
    assert balance("g", []) == 0
    with pytest.raises(CreditOverdrawn) as refusal:
        balance("g", [100, -101, 500])
    assert refusal.value.grant_id == "g"
    with pytest.raises(AmountTooLarge):
        balance("g", [2**63])


def test_a_draw_becomes_a_negative_line() -> None:
    line = credit_line(Draw("g", 40, 60), "Prepaid in October")
    assert (line.kind, line.amount, line.description) == ("credit", -40, "Prepaid in October")
    assert line.exact == -40


@pytest.mark.parametrize(
    "bad",
    [
        {"left": -1},
        {"left": 1.0},
        {"left": True},
        {"unit": "xyz"},
        {"granted_at": datetime(2026, 1, 1)},
        {"expires_at": datetime(2026, 1, 1)},
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Grant(**{"id": "g", "unit": "usd", "left": 1, "granted_at": at("2026-01-01"), **bad})
