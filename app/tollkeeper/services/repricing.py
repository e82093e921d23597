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
from tollkeeper.storage.plans import load_tariff, versions_of
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
    versions = versions_of(connection, plan_id, period.user_id)
    reprice(connection, period, version_for(Period(period.period_start, period.period_end), versions).version)
    return period.user_id, period.period_start


def reprice(connection: Connection, period: UsagePeriod, version: int) -> None:
    """Bring a locked period, and each of its events, to a version of its plan."""
    tariff = load_tariff(connection, period.plan_id, version)
    position = Sums()
    for page in charged_events(connection, period):
        save_costs(connection, [_cost(tariff, position, stored) for stored in page])
    save_rerated(
        connection,
        period,
        version,
        running_cost(tariff, {}, period.totals),
        rate(tariff, period.totals).usage_amount,
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
