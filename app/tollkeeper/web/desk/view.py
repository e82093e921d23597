"""What the desk's first page draws: revenue by month, split into base and metered, and tables beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from tollkeeper.domain.currency import display
from tollkeeper.web.charts import HEIGHT, round_top
from tollkeeper.web.rendering import MONTHS


@dataclass(frozen=True, slots=True)
class Stack:
    """One month: base fees at the foot, metered usage on them. Heights are those of the picture."""

    x: int
    base: float
    metered: float
    label: str
    said: str


@dataclass(frozen=True, slots=True)
class RevenueChart:
    """The months of one currency, oldest first."""

    currency: str
    stacks: tuple[Stack, ...]
    top: Decimal
    rows: tuple[Mapping[str, Any], ...]

    @property
    def width(self) -> int:
        return 20 * max(6, len(self.stacks))


def desk_view(figures: Mapping[str, Any] | None, say: Callable[..., str]) -> dict[str, Any]:
    """What the template needs; nothing but `figures` of None where none were taken yet."""
    if figures is None:
        return {"figures": None, "charts": []}
    currencies = dict.fromkeys(row["currency"] for row in figures["revenue"])
    charts = [
        _chart(currency, [row for row in figures["revenue"] if row["currency"] == currency], say)
        for currency in currencies
    ]
    return {"figures": figures, "charts": charts}


def _chart(currency: str, rows: list[Mapping[str, Any]], say: Callable[..., str]) -> RevenueChart:
    top = round_top(Decimal(max(max(0, row["base"]) + max(0, row["metered"]) for row in rows)))
    shown = []
    stacks = []
    for place, row in enumerate(rows):
        month = datetime.fromisoformat(row["month"])
        label = f"{say(MONTHS[month.month - 1])} {month.year}"
        base, metered = (_height(row[kind], top) for kind in ("base", "metered"))
        said = f"{label}: {display(row['base'], currency)} + {display(row['metered'], currency)}"
        stacks.append(Stack(place * 20 + 3, base, metered, label, said))
        shown.append({**row, "label": label, "total": row["base"] + row["metered"] + row["credits"]})
    return RevenueChart(currency, tuple(stacks), top, tuple(shown))


def _height(amount: int, top: Decimal) -> float:
    return round(float(max(amount, 0) * HEIGHT / top), 2)
