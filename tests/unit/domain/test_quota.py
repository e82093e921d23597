"""The notices at 50, 80 and 100 percent of a quota."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.domain.quota import THRESHOLDS, thresholds_crossed


@pytest.mark.parametrize(
    ("before", "after", "quota", "crossed"),
    [
        (0, 0, 100, ()),
        (0, 49, 100, ()),
        (49, 50, 100, (50,)),  # reaching it is crossing it
        (50, 51, 100, ()),  # and it is crossed once
        (79, 80, 100, (80,)),
        (99, 100, 100, (100,)),
        (100, 1_000, 100, ()),
        (49, 80, 100, (50, 80)),
        (0, 10**30, 100, (50, 80, 100)),
        (80, 79, 100, ()),
        (0, 1, 3, ()),  # a third is not half
        (1, 2, 3, (50,)),  # two thirds
        (2, 3, 3, (80, 100)),
        (0, 1, 1, (50, 80, 100)),
        (5 * 10**14 - 1, 5 * 10**14, 10**15, (50,)),
        (2**62 - 1, 2**62, 2**63 - 1, (50,)),  # half of an odd number, rounded nowhere
        (0, 100, None, ()),
        (0, 100, 0, ()),
    ],
)
def test_a_threshold_is_crossed_when_usage_reaches_it(
    before: int, after: int, quota: int | None, crossed: tuple[int, ...]
) -> None:
    assert thresholds_crossed(before, after, quota) == crossed


@given(st.lists(st.integers(0, 200), max_size=20), st.integers(1, 1_000))
def test_each_threshold_is_crossed_once_however_usage_arrives(steps: list[int], quota: int) -> None:
    used = 0
    seen: list[int] = []
    for step in steps:
        seen += thresholds_crossed(used, used + step, quota)
        used += step
    assert seen == [percent for percent in THRESHOLDS if used * 100 >= percent * quota]
