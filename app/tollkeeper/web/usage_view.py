"""What the usage page draws beside what it says: meters, bars, and the table by model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tollkeeper.domain.currency import display, shown_decimals
from tollkeeper.domain.money import round_half_away
from tollkeeper.domain.period import period_of
from tollkeeper.domain.projection import cap_reached_at
from tollkeeper.domain.usage import COMPUTE_MINUTES, REQUESTS, TOKEN_TYPES
from tollkeeper.plain import number
from tollkeeper.services.presenting import Presentation
from tollkeeper.services.showing import Quantity
from tollkeeper.storage.usage_days import UsageDay
from tollkeeper.web.charts import WHOLE, bar_chart, meter
from tollkeeper.web.rendering import MONTHS

MOST_MODELS = 30
METER_NAMES = {
    "input": "Input",
    "cached_input": "Cached input",
    "cache_write": "Cache write",
    "output": "Output",
    "compute_minutes": "Compute minutes",
    "requests": "Requests",
    "*": "All tokens",
}
"""What people call a meter; one of the app's own is called what the app calls it."""
Say = Callable[..., str]


@dataclass(frozen=True, slots=True)
class DayRow:
    """One day in the table of figures, and where its events are."""

    label: str
    start: datetime
    end: datetime
    requests: int
    tokens: str
    charges: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model: its share of all tokens in thousandths and percent, and its quantity on each meter."""

    name: str
    share: int
    percent: int
    figures: tuple[Decimal | int, ...]


def usage_view(it: Presentation, now: datetime, say: Say) -> dict[str, Any]:
    """Everything that the template of the usage page needs besides the presentation itself."""
    current, usage = it.usage.current, it.usage
    meters, models = _by_model(current.quantities)
    return {
        "days_left": (current.period_end - now).days if now < current.period_end else None,
        "quota": meter(current.tokens, it.projected_tokens, usage.quota_tokens) if usage.quota_tokens else None,
        "cap": None if usage.spend_cap is None else meter(current.spent, _heading(it), usage.spend_cap),
        "cap_at": None if usage.spend_cap is None else cap_reached_at(current.spent, usage.spend_cap, it.period, now),
        "meters": meters,
        "meter_names": METER_NAMES,
        "models": models[:MOST_MODELS],
        "hidden_models": max(0, len(models) - MOST_MODELS),
        **(_over_time(it, now, say) if it.days else {}),
    }


def _heading(it: Presentation) -> int:
    return it.usage.current.spent if it.preview is None else it.preview.projected_usage_amount


def _over_time(it: Presentation, now: datetime, say: Say) -> dict[str, Any]:
    days = it.days or ()
    rows = [_row(day, it, say) for day in days]
    going_on = next((place for place, row in enumerate(rows) if row.start <= now < row.end), None)
    labels = [row.label for row in rows]
    costs = [day.cost_units for day in days]
    return {
        "days": rows,
        "busiest": rows[_highest([Decimal(day.tokens) for day in days])],
        "dearest": rows[_highest(costs)],
        "tokens_chart": bar_chart(
            [Decimal(day.tokens) for day in days], labels, [row.tokens for row in rows], going_on
        ),
        "charges_chart": bar_chart(costs, labels, [row.charges for row in rows], going_on),
    }


def _highest(values: Sequence[Decimal]) -> int:
    return max(range(len(values)), key=lambda place: values[place])


def _row(day: UsageDay, it: Presentation, say: Say) -> DayRow:
    month = say(MONTHS[day.start.month - 1])
    label = f"{day.start.day} {month}" if it.grain == "day" else f"{month} {day.start.year}"
    whole_end = day.start + timedelta(days=1) if it.grain == "day" else period_of("month", day.start).end
    return DayRow(
        label=label,
        start=max(day.start, it.period.start),
        end=min(whole_end, it.period.end),
        requests=day.requests,
        tokens=number(day.tokens),
        charges=about(day.cost_units, it.usage.current.currency),
    )


def about(cost_units: Decimal, currency: str) -> str:
    """An unrounded cost to the usual decimals; what lies below them is named as that."""
    rounded = round_half_away(cost_units)
    if rounded == 0 and cost_units > 0:
        return f"< {display(1 if shown_decimals(currency) else 100, currency)}"
    return display(rounded, currency)


def _by_model(quantities: Sequence[Quantity]) -> tuple[list[str], list[ModelRow]]:
    """The meters in use, and a row for each model, the one with the most tokens first."""
    by_model: dict[str, dict[str, Decimal | int]] = {}
    for one in quantities:
        by_model.setdefault(one.model_id, {})[one.token_type] = one.quantity
    used = {one.token_type for one in quantities if one.quantity}
    usual = [name for name in (*TOKEN_TYPES, COMPUTE_MINUTES) if name in used]
    own = sorted(used - {*TOKEN_TYPES, COMPUTE_MINUTES, REQUESTS})
    meters = [*usual, *own, *([REQUESTS] if REQUESTS in used else [])]
    tokens = {model: sum(int(counts.get(name, 0)) for name in TOKEN_TYPES) for model, counts in by_model.items()}
    total = sum(tokens.values())
    rows = [
        ModelRow(
            name=model,
            share=tokens[model] * WHOLE // total if total else 0,
            percent=round_half_away(Fraction(tokens[model] * 100, total)) if total else 0,
            figures=tuple(by_model[model].get(name, 0) for name in meters),
        )
        for model in sorted(by_model, key=lambda model: (-tokens[model], model))
    ]
    return meters, rows
