"""Parts of a period in which the plan changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.plan_part import PlanPart, from_then_on, part_at, shares, spans

START, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


def day(number: int) -> datetime:
    return START + timedelta(days=number - 1)


def made_of(*changes: tuple[int, str]) -> list[PlanPart]:
    return [PlanPart(day(since), plan, 1) for since, plan in changes]


@pytest.mark.parametrize(
    ("before", "since", "plan", "after"),
    [
        ([(1, "a")], 16, "b", [(1, "a"), (16, "b")]),
        ([(1, "a")], 16, "a", [(1, "a")]),
        ([(1, "a")], 1, "b", [(1, "b")]),  # exactly at the start: the whole period
        ([(1, "a"), (16, "b")], 20, "a", [(1, "a"), (16, "b"), (20, "a")]),  # and back
        ([(1, "a"), (16, "b")], 16, "c", [(1, "a"), (16, "c")]),
        ([(1, "a"), (16, "b")], 16, "a", [(1, "a")]),  # the change is taken back
        ([(1, "a"), (16, "b")], 10, "c", [(1, "a"), (10, "c")]),  # what was to follow is called off
        ([(1, "a"), (16, "b")], 10, "b", [(1, "a"), (10, "b")]),  # moved forward
        ([(1, "a"), (16, "b")], -9, "b", [(1, "b")]),  # a change in the period before
    ],
)
def test_a_plan_is_in_force_from_then_on(
    before: list[tuple[int, str]], since: int, plan: str, after: list[tuple[int, str]]
) -> None:
    changes = from_then_on(made_of(*before), day(since), plan)
    assert changes == [(day(start), name) for start, name in after]


def test_an_instant_belongs_to_the_part_that_begins_there() -> None:
    parts = made_of((1, "a"), (16, "b"), (20, "c"))
    instants = [START, day(16) - INSTANT, day(16), day(20) - INSTANT, day(20), END]
    assert [part_at(parts, at) for at in instants] == [0, 0, 1, 1, 2, 2]
    assert part_at(parts, START - INSTANT) == 0


@given(st.lists(st.integers(1, 30 * 86_400 - 1), max_size=6, unique=True))
def test_the_parts_of_a_period_make_it_up_without_gap(offsets: list[int]) -> None:
    starts = [START + timedelta(seconds=offset) for offset in sorted([0, *offsets])]
    parts = spans(starts, END)
    assert (parts[0].start, parts[-1].end) == (START, END)
    assert all(earlier.end == later.start for earlier, later in pairwise(parts))
    assert sum(shares(starts, END)) == 1
