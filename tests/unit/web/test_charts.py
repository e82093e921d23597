"""Shapes are right where figures are at their edges."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tollkeeper.web.charts import bar_chart, meter, round_top
from tollkeeper.web.rendering import short


@pytest.mark.parametrize(
    ("used", "limit", "percent", "state", "filled"),
    [
        (0, 100, 0, "fine", 0),
        (1, 1_000_000, 0, "fine", 4),  # something is seen of anything
        (7_999, 10_000, 79, "fine", 799),
        (8_000, 10_000, 80, "near", 800),
        (9_999, 10_000, 99, "near", 999),
        (10_000, 10_000, 100, "reached", 1_000),
        (30_000, 10_000, 300, "reached", 1_000),
        (0, 0, 100, "reached", 1_000),
    ],
)
def test_a_meter_is_near_at_80_and_reached_at_100(used: int, limit: int, percent: int, state: str, filled: int) -> None:
    found = meter(used, 0, limit)
    assert (found.percent, found.state, found.filled) == (percent, state, filled)
    assert found.projected == filled


def test_a_projection_ends_at_the_whole() -> None:
    assert meter(500, 700, 1_000).projected == 700
    assert meter(500, 7_000, 1_000).projected == 1_000


@pytest.mark.parametrize(
    ("highest", "top"), [("0", "1"), ("0.03", "0.05"), ("1", "1"), ("1.01", "2"), ("21", "50"), ("999", "1000")]
)
def test_scales_end_at_a_round_number(highest: str, top: str) -> None:
    assert round_top(Decimal(highest)) == Decimal(top)


def test_bars_are_as_high_as_their_share_of_the_scale() -> None:
    values = [Decimal(0), Decimal(5), Decimal(20), Decimal(-1)]
    chart = bar_chart(values, ["a", "b", "c", "d"], ["0", "5", "20", "-1"], 2)
    assert [(bar.height, bar.y, bar.when) for bar in chart.bars] == [
        (0, 100, "past"), (25, 75, "past"), (100, 0, "now"), (0, 100, "future"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (999, "999"), (1_000, "1k"), (1_133_334, "1.13M"), (999_999, "999k"), (17_423_834, "17.4M"),
        (40_000_000, "40M"), (2 * 10**9, "2B"), (5 * 10**12, "5T"), (10**15, "1000T"),
    ],
)  # fmt: skip
def test_large_numbers_are_cut_to_three_figures_and_never_rounded_up(value: int, said: str) -> None:
    assert short(value) == said
