"""Repricing: bring periods that are open to a version of their plan that counts for them too.

One period at a time, each in a transaction of its own, because its customer waits meanwhile. What is interrupted goes on
when it is run again: a period either has the new version with everything that follows from it, or the old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection

from tollkeeper.domain.money import bigint
from tollkeeper.domain.plan import version_for
from tollkeeper.domain.plan_part import PlanPart, part_at, shares, spans
from tollkeeper.domain.pricing import Tariff, running_cost, usage_amount
from tollkeeper.domain.pricing.rating import unpriced
from tollkeeper.domain.proration import for_part
from tollkeeper.domain.usage import quantities
from tollkeeper.storage.database import Database
from tollkeeper.storage.plans import load_tariff, versions_of
from tollkeeper.storage.reports import move_period_end
from tollkeeper.storage.totals import Sums
from tollkeeper.storage.usage_periods import (
    EventCost,
    StoredUsage,
    UsagePeriod,
    charged_events,
    next_open_period,
    save_costs,
    save_rerated,
)

Place = tuple[str, datetime]
"""How far it has come: (user_id, period_start)"""


def reprice_open_periods(database: Database, plan_id: str, user_id: str | None = None) -> int:
    """Bring every open period of a plan, or one customer's, to the version that prices it; how many were changed."""
    changed = 0
    place: Place | None = None
    while True:
        with database.transaction() as connection:
            place = _reprice_next(connection, plan_id, user_id, place)
        if place is None:
            return changed
        changed += 1


def _reprice_next(connection: Connection, plan_id: str, user_id: str | None, after: Place | None) -> Place | None:
    newest = next((one for one in reversed(versions_of(connection, plan_id, user_id)) if one.now), None)
    if newest is None:
        return None
    period = next_open_period(connection, plan_id, newest.version, newest.applied_at, after, user_id)
    if period is None:
        return None
    parts = at_present_versions(connection, period, plan_id)
    if parts != list(period.parts):
        reprice(connection, period, parts)
    return period.user_id, period.period_start


def at_present_versions(connection: Connection, period: UsagePeriod, plan_id: str) -> list[PlanPart]:
    """The parts of a period, those of one plan at the version that prices their spans."""
    versions = versions_of(connection, plan_id, period.user_id)
    return [
        replace(part, plan_version=version_for(span, versions, period.period_end).version)
        if part.plan_id == plan_id
        else part
        for part, span in zip(period.parts, period.spans, strict=True)
    ]


def replan(connection: Connection, period: UsagePeriod, changes: Sequence[tuple[datetime, str]]) -> bool:
    """Let a locked period be made of other plans, given as (since, plan); False where it is already.

    What was there before keeps its version, what is new gets the one that prices its span.
    """
    known = {(part.start, part.plan_id): part.plan_version for part in period.parts}
    if list(known) == list(changes):
        return False
    starts = [start for start, _ in changes]
    parts = []
    for (start, plan_id), span, share in zip(
        changes, spans(starts, period.period_end), shares(starts, period.period_end), strict=True
    ):
        version = known.get((start, plan_id))
        if version is None:
            version = version_for(span, versions_of(connection, plan_id, period.user_id), period.period_end).version
        parts.append(PlanPart(start, plan_id, version, share))
        move_period_end(connection, period.user_id, span)
    reprice(connection, period, parts)
    return True


def reprice(connection: Connection, period: UsagePeriod, parts: Sequence[PlanPart]) -> None:
    """Bring a locked period, and each of its events, to the plans that it is made of from now on.

    What was used in each part is counted anew from the events; a period of a single part keeps its running totals.
    """
    tariffs = [for_part(load_tariff(connection, part.plan_id, part.plan_version), part.share) for part in parts]
    positions = [Sums() for _ in parts]
    for page in charged_events(connection, period):
        at = [part_at(parts, stored.timestamp) for stored in page]
        save_costs(connection, [_cost(tariffs[n], positions[n], stored) for n, stored in zip(at, page, strict=True)])
    totals = positions if len(parts) > 1 else [period.totals]
    save_rerated(
        connection,
        period,
        [replace(part, totals=sums) for part, sums in zip(parts, totals, strict=True)],
        sum((running_cost(tariff, {}, sums) for tariff, sums in zip(tariffs, totals, strict=True)), Decimal(0)),
        bigint(sum(usage_amount(tariff, sums) for tariff, sums in zip(tariffs, totals, strict=True))),
    )


def _cost(tariff: Tariff, position: Sums, stored: StoredUsage) -> EventCost:
    """What an event adds at its position, which moves on."""
    added = quantities(stored.usage)
    if stored.taken_back:
        position.take(added)
        cost = -running_cost(tariff, position, added)
    else:
        cost = running_cost(tariff, position, added)
        position.add(added)
    return EventCost(stored.id, stored.timestamp, cost, any(True for _ in unpriced(tariff, added)))
