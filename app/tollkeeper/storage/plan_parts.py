"""Parts of periods as they are kept in `usage_periods.plan_parts`: a list by start, or null where one plan has it all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from tollkeeper.domain.plan_part import PlanPart
from tollkeeper.storage.totals import totals_from_json, totals_to_json


def plan_parts_from_json(value: Iterable[dict[str, Any]]) -> tuple[PlanPart, ...]:
    """The parts that `plan_parts_to_json` wrote; their totals can be added to."""
    return tuple(
        PlanPart(
            start=datetime.fromisoformat(part["start"]),
            plan_id=part["plan_id"],
            plan_version=part["plan_version"],
            share=Fraction(part["share"]),
            totals=totals_from_json(part["totals"]),
        )
        for part in value
    )


def plan_parts_to_json(parts: Sequence[PlanPart]) -> list[dict[str, Any]] | None:
    """Plain JSON; None for a single part, because the row says all of it."""
    if len(parts) < 2:
        return None
    return [
        {
            "start": part.start.isoformat(),
            "plan_id": part.plan_id,
            "plan_version": part.plan_version,
            "share": str(part.share),
            "totals": totals_to_json(part.totals),
        }
        for part in parts
    ]
