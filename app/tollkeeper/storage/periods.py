"""Periods as the close takes them: found, locked, counted again from their events, and frozen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection

from tollkeeper.domain.period import Period
from tollkeeper.domain.plan import Collect
from tollkeeper.domain.plan_part import WHOLE, spans
from tollkeeper.storage.database import all_rows, change, first_row
from tollkeeper.storage.plan_parts import plan_parts_from_json
from tollkeeper.storage.totals import Sums, totals_from_json

PeriodKey: TypeAlias = tuple[str, datetime]
"""(user_id, period_start)"""


@dataclass(frozen=True, slots=True)
class StoredPeriod:
    """A row of `usage_periods` with what its plan says about collecting; or one plan's part of it, which has no parts."""

    user_id: str
    period: Period
    plan_id: str
    plan_version: int
    plan_name: str
    collect: Collect | None
    currency: str
    revision: int
    events: int
    totals: Sums
    billed_totals: Sums | None
    status: Literal["open", "closed", "parked"]
    parked_reason: str | None
    closed_at: datetime | None
    anchor: datetime
    """Where the customer's anniversaries are counted from."""
    left_at: datetime | None
    """Since when the customer is gone."""
    released_at: datetime | None = None
    """When a person looked at its amount and let it pass."""
    version: int = 0
    """Grows with everything that is stored for it."""
    share: Fraction = WHOLE
    """Of the period's time: what a part has of the plan's allowance, minimum and maximum."""
    plan_parts: tuple[StoredPeriod, ...] = ()

    @property
    def parts(self) -> tuple[StoredPeriod, ...]:
        """What is priced by one plan each: the period itself, or its parts where the plan changes inside."""
        return self.plan_parts or (self,)

    @property
    def collected_parts(self) -> tuple[StoredPeriod, ...]:
        """Its parts without those of a plan that nobody collects, where there is another."""
        return tuple(part for part in self.plan_parts if part.collect != "off") or self.parts

    @property
    def key(self) -> PeriodKey:
        return self.user_id, self.period.start

    @property
    def is_late(self) -> bool:
        """Closed, and something was stored for it since."""
        return self.status == "closed" and self.totals != self.billed_totals


@dataclass(frozen=True, slots=True)
class Member:
    """A customer as the calendar of periods needs it."""

    user_id: str
    created_at: datetime
    next_period_end: datetime | None
    anchor: datetime
    plan_id: str
    interval: str
    currency: str
    trial_end: datetime | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewPeriod:
    """A period in which nothing was metered, to be put beside the others."""

    user_id: str
    period: Period
    plan_id: str
    plan_version: int
    currency: str


_HELD = """
EXISTS (SELECT FROM holds AS h WHERE h.user_id = u.user_id AND h.expires_at > :now
        AND h.started_at >= u.period_start AND h.started_at < u.period_end)
"""
_LATE = "u.status = 'closed' AND u.totals <> u.billed_totals"
_COLUMNS = """
u.user_id, u.period_start, u.period_end, u.plan_id, u.plan_version, p.name AS plan_name, p.collect, u.currency,
u.revision, u.events, u.totals, u.billed_totals, u.status, u.parked_reason, u.closed_at, u.released_at, u.version,
u.plan_parts, u.billed_plan_parts,
(SELECT json_object_agg(q.id, json_build_array(q.name, q.collect))
 FROM jsonb_array_elements(u.plan_parts) AS part JOIN plans AS q ON q.id = part ->> 'plan_id') AS part_plans,
(SELECT coalesce(c.period_anchor, c.created_at) FROM customers AS c WHERE c.user_id = u.user_id) AS anchor,
(SELECT c.closed_at FROM customers AS c WHERE c.user_id = u.user_id AND c.status = 'closed') AS left_at
"""


@dataclass(frozen=True, slots=True)
class Due:
    """Which periods are due: those that ended at or before `cutoff` and were never closed.

    With `heed_holds` only those of which nothing is still running at `now`; with `retry_parked` parked ones as well.
    """

    now: datetime
    cutoff: datetime
    heed_holds: bool
    retry_parked: bool = False

    @property
    def over(self) -> str:
        """The condition without regard to what is still running."""
        status = "u.status IN ('open', 'parked')" if self.retry_parked else "u.status = 'open'"
        return f"{status} AND u.billed_totals IS NULL AND u.period_end <= :cutoff"

    @property
    def condition(self) -> str:
        """The condition in SQL, so that finding and locking agree."""
        return f"{self.over} AND NOT {_HELD}" if self.heed_holds else self.over

    @property
    def parameters(self) -> dict[str, object]:
        return {"cutoff": self.cutoff, "now": self.now} if self.heed_holds else {"cutoff": self.cutoff}


def due_customers(connection: Connection, due: Due, after: str, limit: int) -> list[str]:
    """The next customers with a period that is due, by name, after a name."""
    rows = all_rows(
        connection,
        f"""
        SELECT u.user_id FROM usage_periods AS u WHERE u.user_id COLLATE "C" > :after AND {due.condition}
        GROUP BY u.user_id ORDER BY u.user_id COLLATE "C" LIMIT :limit
        """,  # noqa: S608 - put together from constants
        **due.parameters,
        after=after,
        limit=limit,
    )
    return [row["user_id"] for row in rows]


def lock_customers(connection: Connection, users: Sequence[str], *, wait: bool) -> list[str]:
    """Lock customers, by name.

    The customer's row is where closes of one customer queue up. Those that somebody else has are left out, or with `wait`
    waited for.
    """
    rows = all_rows(
        connection,
        f"""
        SELECT user_id FROM customers WHERE user_id = ANY(:users)
        ORDER BY user_id COLLATE "C" FOR NO KEY UPDATE {"" if wait else "SKIP LOCKED"}
        """,  # noqa: S608 - put together from constants
        users=list(users),
    )
    return [row["user_id"] for row in rows]


def lock_periods(connection: Connection, due: Due, users: Sequence[str], *, wait: bool) -> list[StoredPeriod]:
    """Lock the periods of customers that are due or late, oldest first for each.

    Rows are locked in the order in which usage is stored, so nobody ever waits in a circle. Without `wait`, a customer of
    whom one row is taken is left out altogether.
    """
    statement = f"""
        SELECT {_COLUMNS} FROM usage_periods AS u JOIN plans AS p ON p.id = u.plan_id
        WHERE u.user_id = ANY(:users) AND (({due.condition}) OR ({_LATE}))
        ORDER BY u.user_id COLLATE "C", u.period_start
    """  # noqa: S608 - put together from constants
    expected = [] if wait else _periods(connection, statement, due, users)
    locked = _periods(connection, statement + f"FOR UPDATE OF u {'' if wait else 'SKIP LOCKED'}", due, users)
    got = {period.key for period in locked}
    taken = {period.user_id for period in expected if period.key not in got}
    return [period for period in locked if period.user_id not in taken]


def lock_for_redraft(
    connection: Connection, user_id: str, start: datetime, others: Sequence[datetime]
) -> list[StoredPeriod]:
    """Lock a closed period of a customer, some others by their starts, and all that are late; oldest first."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM usage_periods AS u JOIN plans AS p ON p.id = u.plan_id
        WHERE u.user_id = :user AND (u.period_start = :start OR u.period_start = ANY(:others) OR ({_LATE}))
        ORDER BY u.user_id COLLATE "C", u.period_start FOR UPDATE OF u
        """,  # noqa: S608 - put together from constants
        user=user_id,
        start=start,
        others=list(others),
    )
    return [_period(row) for row in rows]


def lock_late_periods(connection: Connection, after: datetime, until: datetime) -> list[StoredPeriod]:
    """Lock periods that hold more than was billed and ended in a span; what somebody else has is left out."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM usage_periods AS u JOIN plans AS p ON p.id = u.plan_id
        WHERE {_LATE} AND u.period_end > :after AND u.period_end <= :until
        ORDER BY u.user_id COLLATE "C", u.period_start FOR UPDATE OF u SKIP LOCKED
        """,  # noqa: S608 - put together from constants
        after=after,
        until=until,
    )
    return [_period(row) for row in rows]


def count_waiting(connection: Connection, due: Due) -> int:
    """How many periods are over and wait for requests that are still running."""
    row = first_row(
        connection,
        f"SELECT count(*) AS n FROM usage_periods AS u WHERE {due.over} AND {_HELD}",  # noqa: S608 - from constants
        cutoff=due.cutoff,
        now=due.now,
    )
    assert row is not None
    return int(row["n"])


def count_by_status(connection: Connection, cutoff: datetime) -> dict[str, int]:
    """How many periods that ended at or before `cutoff` are open, closed and parked."""
    rows = all_rows(
        connection,
        "SELECT status, count(*) AS n FROM usage_periods WHERE period_end <= :cutoff GROUP BY status",
        cutoff=cutoff,
    )
    return {row["status"]: row["n"] for row in rows}


def close_periods(connection: Connection, keys: Iterable[PeriodKey], now: datetime) -> None:
    """Freeze locked periods: what they hold is billed, what is stored from now on belongs to the next revision."""
    change(
        connection,
        """
        UPDATE usage_periods AS u
        SET status = 'closed', billed_totals = u.totals, billed_plan_parts = u.plan_parts, revision = u.revision + 1,
            parked_reason = NULL,
            closed_at = coalesce(u.closed_at, :now)
        FROM json_to_recordset(CAST(:keys AS json)) AS k(user_id text, period_start timestamptz)
        WHERE u.user_id = k.user_id AND u.period_start = k.period_start
        """,
        keys=json.dumps([{"user_id": user_id, "period_start": start.isoformat()} for user_id, start in keys]),
        now=now,
    )


def park_periods(connection: Connection, reasons: dict[PeriodKey, str]) -> None:
    """Set locked periods aside for a person to look at; nothing of them is billed meanwhile."""
    change(
        connection,
        """
        UPDATE usage_periods AS u SET status = 'parked', parked_reason = k.reason
        FROM json_to_recordset(CAST(:rows AS json)) AS k(user_id text, period_start timestamptz, reason text)
        WHERE u.user_id = k.user_id AND u.period_start = k.period_start
        """,
        rows=json.dumps(
            [
                {"user_id": user_id, "period_start": start.isoformat(), "reason": reason}
                for (user_id, start), reason in reasons.items()
            ]
        ),
    )


def park_due(connection: Connection, due: Due, users: Sequence[str], reason: str) -> None:
    """Set all that is due of some customers aside, without reading what is in it."""
    change(
        connection,
        f"""
        UPDATE usage_periods AS u SET status = 'parked', parked_reason = :reason
        WHERE u.user_id = ANY(:users) AND {due.condition}
        """,  # noqa: S608 - put together from constants
        **due.parameters,
        users=list(users),
        reason=reason,
    )


def members_due(connection: Connection, cutoff: datetime, limit: int, only: str | None = None) -> list[Member]:
    """Lock up to `limit` customers, or one, of whom the close has yet to look at a period that ended at or before `cutoff`."""
    rows = all_rows(
        connection,
        """
        SELECT c.user_id, c.created_at, c.next_period_end, coalesce(c.period_anchor, c.created_at) AS anchor, c.plan_id,
               p.billing_interval AS interval, p.currency, c.trial_end, c.closed_at
        FROM customers AS c JOIN plans AS p ON p.id = c.plan_id
        WHERE coalesce(c.next_period_end, c.created_at) <= :cutoff AND c.status <> 'closed'
          AND c.user_id = coalesce(CAST(:only AS text), c.user_id)
        ORDER BY c.user_id COLLATE "C" LIMIT :limit FOR NO KEY UPDATE OF c SKIP LOCKED
        """,
        cutoff=cutoff,
        only=only,
        limit=limit,
    )
    return [Member(**row) for row in rows]


def members_with_late_usage(connection: Connection) -> list[tuple[Member, datetime]]:
    """Customers with usage that came after a close, each with the end of the first such period."""
    rows = all_rows(
        connection,
        f"""
        SELECT c.user_id, c.created_at, c.next_period_end, coalesce(c.period_anchor, c.created_at) AS anchor, c.plan_id,
               p.billing_interval AS interval, p.currency, c.trial_end, c.closed_at, l.late_end
        FROM (SELECT u.user_id, min(u.period_end) AS late_end FROM usage_periods AS u WHERE {_LATE} GROUP BY u.user_id) AS l
        JOIN customers AS c ON c.user_id = l.user_id JOIN plans AS p ON p.id = c.plan_id
        ORDER BY c.user_id COLLATE "C"
        """,  # noqa: S608 - put together from constants
    )
    ends = [row.pop("late_end") for row in rows]
    return [(Member(**row), end) for row, end in zip(rows, ends, strict=True)]


def members_with_adjustments(connection: Connection) -> list[tuple[Member, datetime]]:
    """Customers with an adjustment that waits for an invoice, each with the instant at which the first one was made."""
    rows = all_rows(
        connection,
        """
        SELECT c.user_id, c.created_at, c.next_period_end, coalesce(c.period_anchor, c.created_at) AS anchor, c.plan_id,
               p.billing_interval AS interval, p.currency, c.trial_end, c.closed_at, a.first_at
        FROM (SELECT user_id, min(created_at) AS first_at FROM adjustments WHERE invoice_id IS NULL GROUP BY user_id) AS a
        JOIN customers AS c ON c.user_id = a.user_id JOIN plans AS p ON p.id = c.plan_id
        ORDER BY c.user_id COLLATE "C"
        """,
    )
    made = [row.pop("first_at") for row in rows]
    return [(Member(**row), at) for row, at in zip(rows, made, strict=True)]


def insert_periods(connection: Connection, periods: Sequence[NewPeriod]) -> None:
    """Put empty periods beside the others; one that shares an instant with what is there is left out."""
    change(
        connection,
        """
        INSERT INTO usage_periods (user_id, period_start, period_end, plan_id, plan_version, currency)
        SELECT r.* FROM json_to_recordset(CAST(:rows AS json)) AS r(
            user_id text, period_start timestamptz, period_end timestamptz, plan_id text, plan_version int, currency text)
        WHERE NOT EXISTS (SELECT FROM usage_periods AS u WHERE u.user_id = r.user_id
                          AND u.period_start < r.period_end AND u.period_end > r.period_start)
        ORDER BY r.user_id COLLATE "C", r.period_start
        ON CONFLICT (user_id, period_start) DO NOTHING
        """,
        rows=json.dumps(
            [
                {
                    "user_id": new.user_id,
                    "period_start": new.period.start.isoformat(),
                    "period_end": new.period.end.isoformat(),
                    "plan_id": new.plan_id,
                    "plan_version": new.plan_version,
                    "currency": new.currency,
                }
                for new in periods
            ]
        ),
    )


def save_next_period_ends(connection: Connection, ends: dict[str, datetime]) -> None:
    """Remember for locked customers up to where the close has looked."""
    change(
        connection,
        """
        UPDATE customers AS c SET next_period_end = r.ends
        FROM json_to_recordset(CAST(:rows AS json)) AS r(user_id text, ends timestamptz) WHERE c.user_id = r.user_id
        """,
        rows=json.dumps([{"user_id": user_id, "ends": end.isoformat()} for user_id, end in ends.items()]),
    )


def seen_until(connection: Connection, user_id: str) -> datetime | None:
    """End of the first of the customer's periods that the close has not looked at; None before it has looked at any."""
    row = first_row(connection, "SELECT next_period_end FROM customers WHERE user_id = :user", user=user_id)
    return None if row is None else row["next_period_end"]


def stored_period(connection: Connection, user_id: str, at: datetime) -> StoredPeriod | None:
    """The customer's period that an instant falls in, if anything is stored for it."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM usage_periods AS u JOIN plans AS p ON p.id = u.plan_id
        WHERE u.user_id = :user AND u.period_start <= :at AND u.period_end > :at
        ORDER BY u.period_start DESC LIMIT 1
        """,  # noqa: S608 - put together from constants
        user=user_id,
        at=at,
    )
    return _period(rows[0]) if rows else None


def unbilled_periods(connection: Connection, user_id: str, until: datetime) -> list[StoredPeriod]:
    """A customer's periods that a close at `until` would look at, oldest first: not closed yet, or with late usage."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM usage_periods AS u JOIN plans AS p ON p.id = u.plan_id
        WHERE u.user_id = :user AND ((u.billed_totals IS NULL AND u.period_end <= :until) OR ({_LATE}))
        ORDER BY u.period_start
        """,  # noqa: S608 - put together from constants
        user=user_id,
        until=until,
    )
    return [_period(row) for row in rows]


def periods_after(
    connection: Connection, place: PeriodKey | None, limit: int, since: datetime | None = None
) -> list[StoredPeriod]:
    """The next periods in the order of customer and start, after a place; with `since` only those that end after it."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM usage_periods AS u JOIN plans AS p ON p.id = u.plan_id
        WHERE (CAST(:user AS text) IS NULL OR (u.user_id, u.period_start) > (:user, CAST(:start AS timestamptz)))
          AND (CAST(:since AS timestamptz) IS NULL OR u.period_end > :since)
        ORDER BY u.user_id, u.period_start LIMIT :limit
        """,  # noqa: S608 - put together from constants
        since=since,
        user=None if place is None else place[0],
        start=None if place is None else place[1],
        limit=limit,
    )
    return [_period(row) for row in rows]


def _periods(connection: Connection, statement: str, due: Due, users: Sequence[str]) -> list[StoredPeriod]:
    rows = all_rows(connection, statement, **due.parameters, users=list(users))
    return [_period(row) for row in rows]


def _period(row: dict[str, Any]) -> StoredPeriod:
    billed, plans = row.pop("billed_totals"), row.pop("part_plans")
    parts, billed_parts = row.pop("plan_parts"), row.pop("billed_plan_parts")
    stored = StoredPeriod(
        period=Period(row.pop("period_start"), row.pop("period_end")),
        totals=totals_from_json(row.pop("totals")),
        billed_totals=None if billed is None else totals_from_json(billed),
        **row,
    )
    if parts is None:
        return stored
    return replace(stored, plan_parts=tuple(_parts(stored, parts, billed_parts, plans)))


def _parts(
    stored: StoredPeriod,
    parts: Sequence[dict[str, Any]],
    billed: Sequence[dict[str, Any]] | None,
    plans: dict[str, tuple[str, Collect]],
) -> Iterator[StoredPeriod]:
    """Each part as a period of its own, which shares the row's state."""
    of_rows = plan_parts_from_json(parts)
    of_bills = [None] * len(of_rows) if billed is None else [Sums(one.totals) for one in plan_parts_from_json(billed)]
    of_time = spans([one.start for one in of_rows], stored.period.end)
    for part, billed_totals, span in zip(of_rows, of_bills, of_time, strict=True):
        name, collect = plans[part.plan_id]
        yield replace(
            stored,
            period=span,
            plan_id=part.plan_id,
            plan_version=part.plan_version,
            plan_name=name,
            collect=collect,
            share=part.share,
            totals=Sums(part.totals),
            billed_totals=billed_totals,
        )
