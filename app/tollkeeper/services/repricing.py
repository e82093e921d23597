"""Repricing: bring periods that are open to a version of their plan that counts for them too.

One period at a time, each in a transaction of its own, because its customer waits meanwhile. What is interrupted goes on
when it is run again: a period either has the new version with everything that follows from it, or the old one.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.domain.period import Period
from tollkeeper.domain.plan import version_for
from tollkeeper.domain.pricing import Tariff, rate, running_cost
from tollkeeper.domain.pricing.rating import unpriced
from tollkeeper.domain.usage import quantities
from tollkeeper.storage.database import Database
from tollkeeper.storage.plans import PlanVersion, load_tariff, versions_of
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


def reprice_open_periods(database: Database, plan_id: str) -> int:
    """Bring every open period of a plan to the version that prices it; how many were changed."""
    changed = 0
    place: Place | None = None
    while True:
        with database.transaction() as connection:
            place = _reprice_next(connection, plan_id, place)
        if place is None:
            return changed
        changed += 1


def _reprice_next(connection: Connection, plan_id: str, after: Place | None) -> Place | None:
    versions = versions_of(connection, plan_id)
    newest = next((version for version in reversed(versions) if version.now), None)
    if newest is None:
        return None
    period = next_open_period(connection, plan_id, newest.version, newest.applied_at, after)
    if period is None:
        return None
    _reprice(connection, period, version_for(Period(period.period_start, period.period_end), versions))
    return period.user_id, period.period_start


def _reprice(connection: Connection, period: UsagePeriod, version: PlanVersion) -> None:
    tariff = load_tariff(connection, period.plan_id, version.version)
    position = Sums()
    for page in charged_events(connection, period):
        save_costs(connection, [_cost(tariff, position, stored) for stored in page])
    save_rerated(
        connection,
        period,
        version.version,
        running_cost(tariff, {}, period.totals),
        rate(tariff, period.totals).usage_amount,
    )


def _cost(tariff: Tariff, position: Sums, stored: StoredUsage) -> EventCost:
    """What an event adds at its position, which moves on."""
    added = quantities(stored.usage)
    cost = running_cost(tariff, position, added)
    position.add(added)
    return EventCost(stored.id, stored.timestamp, cost, any(True for _ in unpriced(tariff, added)))
