"""What events add up to, counted anew from nothing but the events: the proof of every running total."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy import Connection

from tollkeeper.domain.period import Period
from tollkeeper.domain.usage import COMPUTE_MINUTES, REQUESTS, TOKEN_TYPES, Quantities, Totals, quantities, sum_of_calls
from tollkeeper.storage.database import all_rows, change, load_json
from tollkeeper.storage.periods import PeriodKey, StoredPeriod
from tollkeeper.storage.totals import Sums, totals_from_json
from tollkeeper.storage.usage_json import parts_from_json

METERS = (*TOKEN_TYPES, COMPUTE_MINUTES, REQUESTS)
SUMMED = """
sum(e.tokens_in - e.cached_tokens_in - e.cache_write_tokens_in) AS input, sum(e.cached_tokens_in) AS cached_input,
sum(e.cache_write_tokens_in) AS cache_write, sum(e.tokens_out) AS output, sum(e.compute_minutes) AS compute_minutes,
count(*) AS requests
"""
"""A sum for each of the meters, by its name."""

# The outer bounds stand beside the join as constants, so that only the months concerned are opened.
_EVENTS = """
FROM json_to_recordset(CAST(:spans AS json)) AS s(user_id text, period_start timestamptz, period_end timestamptz)
JOIN usage_events AS e ON e.user_id = s.user_id AND e."timestamp" >= s.period_start AND e."timestamp" < s.period_end
"""
_COUNT = (
    """
SELECT s.user_id, s.period_start, e.model_id, e.revision, e.reverses IS NOT NULL AS taken_back,
"""
    + SUMMED
    + _EVENTS
    + """
WHERE e.billable AND e."timestamp" >= :low AND e."timestamp" < :high AND e.parts IS NULL
GROUP BY s.user_id, s.period_start, e.model_id, e.revision, taken_back
"""
)
_COUNT_UNITS = (
    """
SELECT s.user_id, s.period_start, e.model_id, e.revision, e.reverses IS NOT NULL AS taken_back, unit.key AS meter,
       sum(CAST(unit.value AS numeric)) AS quantity
"""
    + _EVENTS
    + """
CROSS JOIN LATERAL jsonb_each_text(e.units) AS unit
WHERE e.billable AND e."timestamp" >= :low AND e."timestamp" < :high AND e.units <> '{}' AND e.parts IS NULL
GROUP BY s.user_id, s.period_start, e.model_id, e.revision, taken_back, unit.key
"""
)
# Requests with several models are few, and an index finds them; the request itself counts for the model that the row names.
_PARTS = (
    """
SELECT s.user_id, s.period_start, e.revision, e.reverses IS NOT NULL AS taken_back, e.parts::text AS parts
"""
    + _EVENTS
    + """
WHERE e.billable AND e."timestamp" >= :low AND e."timestamp" < :high AND e.parts IS NOT NULL
"""
)

_ARCHIVED = """
SELECT a.user_id, a.period_start, a.revision, a.taken_back, a.events, a.sums
FROM json_to_recordset(CAST(:spans AS json)) AS s(user_id text, period_start timestamptz)
JOIN archived_sums AS a ON a.user_id = s.user_id AND a.period_start = s.period_start
"""


@dataclass(slots=True)
class Counted:
    """What a period's billable events add up to: all of them, and those of revisions before the present one.

    Rows that take others back count below zero; `taken_back` is what they come to by themselves, as a positive figure.
    """

    events: int = 0
    totals: Sums = field(default_factory=Sums)
    before: Sums = field(default_factory=Sums)
    taken_back: Sums = field(default_factory=Sums)

    def add(self, other: Counted) -> None:
        """Add what another part of the same period adds up to."""
        self.events += other.events
        self.totals.add(other.totals)
        self.before.add(other.before)

    def totals_differ(self, stored: StoredPeriod) -> str | None:
        """Where the sums of the events are not what is stored, in one line; None where they agree."""
        found = _first_difference(self.totals, stored.totals)
        if found is None and stored.billed_totals is not None:
            found = _first_difference(self.before, stored.billed_totals)
        return found


@dataclass(frozen=True, slots=True)
class Group:
    """What some of a period's events add up to: those of one revision, and only rows that take others back or only others."""

    user_id: str
    period_start: datetime
    revision: int
    taken_back: bool
    events: int
    summed: Quantities


def difference(stored: StoredPeriod, counted: Mapping[PeriodKey, Counted]) -> str | None:
    """What the events say that the period's row does not, in one line; None where they agree, in each part and in all."""
    whole = Counted()
    for part in stored.parts:
        whole.add(counted[part.key])
    if whole.events != stored.events:
        return f"{whole.events} events, {stored.events} in the running totals"
    checked = [(whole, stored), *((counted[part.key], part) for part in stored.plan_parts)]
    return next((found for sums, one in checked if (found := sums.totals_differ(one)) is not None), None)


def count_events(connection: Connection, rows: Sequence[StoredPeriod]) -> dict[PeriodKey, Counted]:
    """The sums of the events of each period, or of each of its parts, half-open, by model and meter; of archived ones, too."""
    periods = [part for row in rows for part in row.parts]
    counted = {period.key: Counted() for period in periods}
    if not periods:
        return counted
    revisions = {period.key: period.revision for period in periods}
    spans = _spans([(one.user_id, one.period) for one in periods])
    for group in chain(_groups(connection, spans), _archived(connection, spans)):
        key = (group.user_id, group.period_start)
        counted[key].events += group.events
        counted[key].totals.add(group.summed)
        if group.taken_back:
            counted[key].taken_back.take(group.summed)
        if group.revision < revisions[key]:
            counted[key].before.add(group.summed)
    return counted


def groups_between(
    connection: Connection, periods: Sequence[tuple[str, Period]], low: datetime, high: datetime
) -> Iterator[Group]:
    """The sums of those events of some periods that lie in a span of time; one group may come in several parts."""
    return _groups(connection, {**_spans(periods), "low": low, "high": high})


def _groups(connection: Connection, spans: dict[str, object]) -> Iterator[Group]:
    # The groups by model do not fit the default and would be sorted on disk.
    change(connection, "SET LOCAL work_mem = '64MB'")
    for row in all_rows(connection, _COUNT, **spans):
        if row["taken_back"]:
            row[REQUESTS] = -row[REQUESTS]
        yield _group(row, row[REQUESTS], {(row["model_id"], meter): row[meter] for meter in METERS if row[meter]})
    for row in all_rows(connection, _COUNT_UNITS, **spans):
        yield _group(row, 0, {(row["model_id"], row["meter"]): row["quantity"]} if row["quantity"] else {})
    for row in all_rows(connection, _PARTS, **spans):
        sign = -1 if row["taken_back"] else 1
        usage = quantities(sum_of_calls(parts_from_json(load_json(row["parts"]))))
        yield _group(row, sign, {key: sign * quantity for key, quantity in usage.items()})


def _archived(connection: Connection, spans: dict[str, object]) -> Iterator[Group]:
    for row in all_rows(connection, _ARCHIVED, spans=spans["spans"]):
        yield _group(row, row["events"], totals_from_json(row["sums"]))


def _group(row: dict[str, Any], events: int, summed: Quantities) -> Group:
    return Group(row["user_id"], row["period_start"], row["revision"], row["taken_back"], events, summed)


def events_without_period(connection: Connection, since: datetime | None = None) -> dict[str, int]:
    """Billable events by customer, of all time or since an instant, that lie in no period: none, as long as everything holds."""
    rows = all_rows(
        connection,
        """
        SELECT e.user_id, count(*) AS n FROM usage_events AS e
        WHERE e.billable AND e."timestamp" >= coalesce(CAST(:since AS timestamptz), '-infinity') AND NOT EXISTS (
            SELECT FROM usage_periods AS u WHERE u.user_id = e.user_id
            AND e."timestamp" >= u.period_start AND e."timestamp" < u.period_end)
        GROUP BY e.user_id ORDER BY e.user_id
        """,
        since=since,
    )
    return {row["user_id"]: row["n"] for row in rows}


def _first_difference(counted: Totals, running: Totals) -> str | None:
    for model, meter in sorted(counted.keys() | running.keys()):
        by_events, by_totals = counted.get((model, meter), 0), running.get((model, meter), 0)
        if by_events != by_totals:
            return f"{model} {meter}: {by_events} in the events, {by_totals} in the running totals"
    return None


def _spans(periods: Sequence[tuple[str, Period]]) -> dict[str, object]:
    return {
        "spans": json.dumps(
            [
                {"user_id": user_id, "period_start": one.start.isoformat(), "period_end": one.end.isoformat()}
                for user_id, one in periods
            ]
        ),
        "low": min(one.start for _, one in periods),
        "high": max(one.end for _, one in periods),
    }
