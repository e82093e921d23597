"""The shapes of the pages' pictures. Only shapes: the figures beside them are the exact ones.

A picture is drawn in a box that the page stretches to any width, so it holds no text; labels stand around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

SLOT, BAR, HEIGHT = 10, 7, 100
"""Widths of a bar's place and of the bar, and the height of the picture."""
WHOLE = 1_000
"""The width of a meter."""
NEAR_PERCENT = 80


@dataclass(frozen=True, slots=True)
class Bar:
    """One day or month. `when` says whether it is over, going on, or yet to come."""

    x: int
    y: float
    height: float
    label: str
    value: str
    when: Literal["past", "now", "future"]


@dataclass(frozen=True, slots=True)
class BarChart:
    """Bars on a scale from 0 to `top`, a round number at or above the highest."""

    bars: tuple[Bar, ...]
    top: Decimal

    @property
    def width(self) -> int:
        return SLOT * len(self.bars)


@dataclass(frozen=True, slots=True)
class Meter:
    """How much of a limit is used, and would be used at the end of the period, in thousandths that end at the whole."""

    filled: int
    projected: int
    percent: int
    state: Literal["fine", "near", "reached"]


def bar_chart(values: Sequence[Decimal], labels: Sequence[str], shown: Sequence[str], now: int | None) -> BarChart:
    """Bars for values that are not negative; `now` is the place of the one that is going on."""
    top = round_top(max(values, default=Decimal(0)))
    bars = []
    for place, value in enumerate(values):
        height = round(float(max(value, Decimal(0)) * HEIGHT / top), 2)
        when: Literal["past", "now", "future"] = "now" if place == now else "past"
        if now is not None and place > now:
            when = "future"
        x = place * SLOT + (SLOT - BAR) // 2
        bars.append(Bar(x, HEIGHT - height, height, labels[place], shown[place], when))
    return BarChart(tuple(bars), top)


def round_top(highest: Decimal) -> Decimal:
    """The least of 1, 2, 5, 10, 20, 50, … that is no less."""
    if highest <= 0:
        return Decimal(1)
    power = Decimal(1).scaleb(highest.adjusted())
    return next(top for step in (1, 2, 5, 10) if (top := power * step) >= highest)


def meter(used: Decimal | int, projected: Decimal | int, limit: int) -> Meter:
    """How far towards a limit; one of nothing is reached at once."""
    percent = int(used * 100 // limit) if limit else 100
    state: Literal["fine", "near", "reached"] = "fine"
    if percent >= 100:
        state = "reached"
    elif percent >= NEAR_PERCENT:
        state = "near"
    return Meter(_share(used, limit), _share(max(used, projected), limit), percent, state)


def _share(part: Decimal | int, whole: int) -> int:
    return WHOLE if not whole or part >= whole else max(int(part * WHOLE // whole), 4 if part > 0 else 0)
