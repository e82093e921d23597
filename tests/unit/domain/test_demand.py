from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.demand import Demand, DemandLine, fold
from tollkeeper.domain.period import Period
from tollkeeper.domain.split import Share

NOVEMBER = Period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
OCTOBER = Period(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))
DEMAND = Demand(
    invoice_id=UUID(int=7),
    user_id="ada",
    customer="cus_ada",
    email=None,
    currency="usd",
    period=NOVEMBER,
    drafted_at=NOVEMBER.end,
    lines=(DemandLine("1", 1_000, "Usage", NOVEMBER), DemandLine("2", -33, "Credit", OCTOBER)),
    days_until_due=14,
    shares=(Share("acct_a", 700),),
)


def lines(*amounts: int) -> list[DemandLine]:
    return [DemandLine(str(n), amount, f"line {n}", NOVEMBER) for n, amount in enumerate(amounts, 1)]


def test_a_demand_survives_the_database() -> None:
    assert Demand.from_json(DEMAND.to_json()) == DEMAND
    assert (DEMAND.total, DEMAND.platform_share) == (967, 267)
    bare = replace(DEMAND, days_until_due=None, shares=(), email="ada@example.com")
    assert Demand.from_json(bare.to_json()) == bare


def test_few_lines_stay_as_they_are() -> None:
    assert fold(lines(3, 2, 1), 3) == tuple(lines(3, 2, 1))


def test_the_smallest_of_too_many_lines_become_one_at_the_end() -> None:
    folded = fold([*lines(5, -9, 1, 5), DemandLine("late", 2, "Late", OCTOBER)], 3)
    assert [(line.id, line.amount) for line in folded] == [("1", 5), ("2", -9), ("rest", 8)]
    assert folded[-1].description == "3 smaller lines"
    assert folded[-1].period == Period(OCTOBER.start, NOVEMBER.end)


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=40), st.integers(2, 12))
def test_folding_keeps_the_total(amounts: list[int], most: int) -> None:
    folded = fold(lines(*amounts), most)
    assert sum(line.amount for line in folded) == sum(amounts)
    assert len(folded) <= most
    assert len({line.id for line in folded}) == len(folded)
