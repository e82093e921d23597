"""The ledger of what Stripe is told: a row before every call, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.period import Period
from tollkeeper.storage.database import all_rows, change, first_row
from tollkeeper.storage.periods import PeriodKey

OVERDUE = timedelta(minutes=45)
"""Stripe finalizes an hour after a period's end: what is not acknowledged by then needs somebody to look at it."""
ReportState: TypeAlias = Literal["pending", "sending", "acknowledged", "confirmed", "rejected", "missed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A row of `stripe_reports`: one quantity that Stripe is told once.

    `sending` is a call under way; `next_attempt_at` is then when its sender counts as lost. A row that was sent and has no
    answer is `pending` again with `first_sent_at` set. `missed` is one that Stripe's own invoice went out without: an item has
    its money.
    """

    id: UUID
    invoice_id: UUID | None
    """None for as long as the period is open."""
    user_id: str
    period: Period
    window: Period | None = None
    """The part of the period that it is about, where that is not all of it."""
    model_id: str
    token_type: str
    revision: int
    event_name: str
    identifier: str
    value: Decimal
    timestamp: datetime
    stripe_customer_id: str | None = None
    state: ReportState = "pending"
    key_attempt: int = 1
    attempts: int = 0
    first_sent_at: datetime | None = None
    last_sent_at: datetime | None = None
    next_attempt_at: datetime | None = None
    acknowledged_at: datetime | None = None
    last_error: str | None = None
    created_at: datetime

    @property
    def idempotency_key(self) -> str:
        return f"{self.identifier}:{self.key_attempt}"

    @property
    def was_taken(self) -> bool:
        """Whether Stripe acknowledged it once and could not count it then."""
        return self.acknowledged_at is not None and self.state not in ("acknowledged", "confirmed")


def is_overdue(report: Report, now: datetime) -> bool:
    """Whether Stripe has not acknowledged a report although what it is about has been over for long."""
    over = report.period.end if report.window is None else report.window.end
    return report.state in ("pending", "sending", "rejected") and over + OVERDUE <= now


@dataclass(frozen=True, slots=True)
class Sum:
    """Everything that Stripe should have counted for one customer, event name and period."""

    user_id: str
    stripe_customer_id: str
    event_name: str
    period: Period
    value: Decimal
    acknowledged_at: datetime

    @property
    def parameters(self) -> dict[str, object]:
        return {
            "user": self.user_id,
            "customer": self.stripe_customer_id,
            "event_name": self.event_name,
            "start": self.period.start,
        }


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that looks as if it can be sent. `customer` is Stripe's name for the customer, `closed` whether there is an invoice."""

    id: UUID
    user_id: str
    customer: str
    period_end: datetime
    timestamp: datetime
    closed: bool


_COLUMNS = """
r.id, r.invoice_id, r.user_id, r.period_start, r.period_end, r.window_start, r.window_end, r.model_id,
r.token_type, r.revision, r.event_name,
r.identifier, r.value, r."timestamp", r.stripe_customer_id, r.state, r.key_attempt, r.attempts, r.first_sent_at,
r.last_sent_at, r.next_attempt_at, r.acknowledged_at, r.last_error, r.created_at
"""
# What is acknowledged is done with; what was rejected is tried again only when a person asks for it.
_SENDABLE = """
r.state = 'pending' AND (r.next_attempt_at IS NULL OR r.next_attempt_at <= :now)
OR r.state = 'sending' AND r.next_attempt_at <= :now
"""
# When that is over which a report is about.
_OVER = "coalesce(r.window_end, r.period_end)"
_SENDABLE_IF_ASKED = "r.state IN ('pending', 'rejected') OR r.state = 'sending' AND r.next_attempt_at <= :now"


def drop_unsent(connection: Connection, invoice_id: UUID) -> None:
    """Forget what an invoice owed Stripe and nobody has begun to tell."""
    change(
        connection,
        """
        DELETE FROM stripe_reports
        WHERE invoice_id = :invoice AND state = 'pending' AND attempts = 0 AND first_sent_at IS NULL
        """,
        invoice=invoice_id,
    )


def was_told(connection: Connection, invoice_id: UUID) -> bool:
    """Whether Stripe has, or may have, heard of anything on an invoice."""
    statement = "SELECT FROM stripe_reports WHERE invoice_id = :invoice LIMIT 1"
    return first_row(connection, statement, invoice=invoice_id) is not None


def hand_on_reports(connection: Connection, invoice_id: UUID, to: UUID) -> None:
    """Let what Stripe was told for one invoice belong to another."""
    change(
        connection,
        "UPDATE stripe_reports SET invoice_id = :other WHERE invoice_id = :invoice",
        invoice=invoice_id,
        other=to,
    )


def insert_reports(connection: Connection, reports: Iterable[Report]) -> None:
    """Put what is owed into the ledger; the same thing a second time is refused by the table."""
    change(
        connection,
        """
        INSERT INTO stripe_reports (id, invoice_id, user_id, period_start, period_end, window_start, window_end, model_id,
                                    token_type, revision, event_name, identifier, value, "timestamp", created_at)
        SELECT r.* FROM json_to_recordset(CAST(:rows AS json)) AS r(
            id uuid, invoice_id uuid, user_id text, period_start timestamptz, period_end timestamptz,
            window_start timestamptz, window_end timestamptz, model_id text,
            token_type text, revision smallint, event_name text, identifier text, value numeric,
            "timestamp" timestamptz, created_at timestamptz)
        """,
        rows=json.dumps([_report_json(report) for report in reports]),
    )


def adopt_windows(connection: Connection, invoices: Iterable[UUID]) -> None:
    """Give what was told of periods while they were open to the invoices of these periods."""
    change(
        connection,
        """
        UPDATE stripe_reports AS r SET invoice_id = i.id FROM invoices AS i
        WHERE i.id = ANY(:invoices) AND r.user_id = i.user_id AND r.invoice_id IS NULL
          AND r.period_start >= i.period_start AND r.period_start < i.period_end
        """,
        invoices=list(invoices),
    )


def told_until(connection: Connection, user_id: str, period: Period) -> datetime | None:
    """The last second of a period that Stripe was told of; None where it was told nothing yet."""
    row = first_row(
        connection,
        """
        SELECT max("timestamp") AS at FROM stripe_reports
        WHERE user_id = :user AND period_start >= :start AND period_start < :ends
        """,
        user=user_id,
        start=period.start,
        ends=period.end,
    )
    return None if row is None else row["at"]


def move_period_end(connection: Connection, user_id: str, period: Period) -> None:
    """A period, or a part of one, ends elsewhere than it did when Stripe was told of its first windows."""
    change(
        connection,
        "UPDATE stripe_reports SET period_end = :ends WHERE user_id = :user AND period_start = :start AND period_end <> :ends",
        user=user_id,
        start=period.start,
        ends=period.end,
    )


def sendable_reports(
    connection: Connection, now: datetime, until: datetime, limit: int, *, insist: bool
) -> list[Candidate]:
    """What can be sent now, oldest first: of periods and windows over by `until`, of customers who are known to Stripe.

    With `insist` also what waits for a later attempt, and what was rejected; never what is under way.
    """
    rows = all_rows(
        connection,
        f"""
        SELECT r.id, r.user_id, coalesce(CASE WHEN r.state <> 'rejected' THEN r.stripe_customer_id END, c.stripe_customer_id,
               r.stripe_customer_id) AS customer, r.period_end, r.timestamp, r.invoice_id IS NOT NULL AS closed
        FROM stripe_reports AS r JOIN customers AS c ON c.user_id = r.user_id
        WHERE ({_SENDABLE_IF_ASKED if insist else _SENDABLE}) AND {_OVER} <= :until
          AND coalesce(c.stripe_customer_id, r.stripe_customer_id) IS NOT NULL
        ORDER BY {_OVER}, r.user_id, r.revision, r.model_id, r.token_type LIMIT :limit
        """,  # noqa: S608 - put together from constants
        now=now,
        until=until,
        limit=limit,
    )
    return [Candidate(**row) for row in rows]


def claim_report(connection: Connection, candidate: Candidate, now: datetime, *, insist: bool) -> Report | None:
    """Lock a row that can still be sent, or None.

    None too while another call about the same customer is under way: Stripe wants one at a time. Claims of one customer
    queue up at the customer's row, so that of two only one finds the way free.
    """
    customer = first_row(
        connection,
        "SELECT stripe_customer_id FROM customers WHERE user_id = :user FOR NO KEY UPDATE",
        user=candidate.user_id,
    )
    row = first_row(
        connection,
        f"""
        SELECT {_COLUMNS} FROM stripe_reports AS r
        WHERE r.id = :id AND ({_SENDABLE_IF_ASKED if insist else _SENDABLE}) AND NOT EXISTS (
            SELECT FROM stripe_reports AS other
            WHERE other.user_id = r.user_id AND other.id <> r.id AND other.state = 'sending'
              AND other.next_attempt_at > :now)
        FOR UPDATE OF r
        """,  # noqa: S608 - put together from constants
        id=candidate.id,
        now=now,
    )
    if row is None or customer is None:
        return None
    report = _report(row)
    # What was sent keeps the customer it was sent with: the same key must come with the same body.
    keeps = report.stripe_customer_id is not None and report.state != "rejected"
    return report if keeps else replace(report, stripe_customer_id=customer["stripe_customer_id"])


def save_report(connection: Connection, report: Report, *, claimed: int) -> bool:
    """Store what became of a row that was claimed as attempt `claimed`; False where somebody else has gone on with it.

    That Stripe has it is true whoever hears of it, so an acknowledgement is stored all the same.
    """
    return (
        change(
            connection,
            """
            UPDATE stripe_reports
            SET identifier = :identifier, "timestamp" = :timestamp, stripe_customer_id = :stripe_customer_id, state = :state,
                key_attempt = :key_attempt, attempts = :attempts,
                first_sent_at = :first_sent_at, last_sent_at = :last_sent_at, next_attempt_at = :next_attempt_at,
                acknowledged_at = :acknowledged_at, last_error = :last_error
            WHERE id = :id AND state IN ('pending', 'sending', 'rejected')
              AND (attempts <= :claimed OR :state = 'acknowledged')
            """,
            claimed=claimed,
            **{name: getattr(report, name) for name in _CHANGING},
        )
        == 1
    )


def same_sum(connection: Connection, report: Report) -> list[Report]:
    """The rows that go into the same sum at Stripe as this one, itself too, locked: same customer, event name and period."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM stripe_reports AS r
        WHERE r.user_id = :user AND r.event_name = :event_name AND r.period_start = :start
          AND r.stripe_customer_id = :customer
        ORDER BY r.id FOR UPDATE
        """,  # noqa: S608 - put together from constants
        user=report.user_id,
        event_name=report.event_name,
        start=report.period.start,
        customer=report.stripe_customer_id,
    )
    return [_report(row) for row in rows]


def lock_reports_of(connection: Connection, report: Report) -> list[Report]:
    """All rows about the same customer's period, itself too, locked."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM stripe_reports AS r
        WHERE r.user_id = :user AND r.period_start = :start ORDER BY r.id FOR UPDATE
        """,  # noqa: S608 - put together from constants
        user=report.user_id,
        start=report.period.start,
    )
    return [_report(row) for row in rows]


def mark_missed(connection: Connection, ids: Iterable[UUID]) -> None:
    """Note that Stripe's own invoice went out without some locked rows, and that they are settled by an item."""
    change(
        connection,
        "UPDATE stripe_reports SET state = 'missed', next_attempt_at = NULL, last_error = NULL WHERE id = ANY(:ids)",
        ids=list(ids),
    )


def note_unknown_to_stripe(connection: Connection, until: datetime) -> int:
    """Say on the rows of customers without a Stripe customer why they wait; how many there are."""
    return change(
        connection,
        """
        UPDATE stripe_reports AS r SET last_error = 'the customer has no stripe_customer_id'
        FROM customers AS c
        WHERE c.user_id = r.user_id AND c.stripe_customer_id IS NULL AND r.stripe_customer_id IS NULL
          AND r.state = 'pending' AND coalesce(r.window_end, r.period_end) <= :until
        """,
        until=until,
    )


def reject_reported(connection: Connection, identifier: str, reason: str) -> list[UUID]:
    """Stripe took a report and then could not count it: it waits for a person. The invoices that it belongs to."""
    rows = all_rows(
        connection,
        "UPDATE stripe_reports SET state = 'rejected', next_attempt_at = NULL, last_error = :reason "
        "WHERE identifier = :identifier AND state <> 'rejected' RETURNING invoice_id",
        identifier=identifier,
        reason=reason,
    )
    return [row["invoice_id"] for row in rows]


def count_unacknowledged(connection: Connection, until: datetime) -> dict[ReportState, int]:
    """How many rows of periods and windows over by `until` Stripe has not acknowledged, by state."""
    rows = all_rows(
        connection,
        """
        SELECT state, count(*) AS n FROM stripe_reports
        WHERE state IN ('pending', 'sending', 'rejected') AND coalesce(window_end, period_end) <= :until GROUP BY state
        """,
        until=until,
    )
    return {row["state"]: row["n"] for row in rows}


def reasons_unacknowledged(connection: Connection, until: datetime) -> list[tuple[str, int]]:
    """What is known of why those rows wait, the most frequent first; ten reasons at most."""
    rows = all_rows(
        connection,
        """
        SELECT last_error, count(*) AS n FROM stripe_reports
        WHERE state IN ('pending', 'sending', 'rejected') AND coalesce(window_end, period_end) <= :until
          AND last_error IS NOT NULL
        GROUP BY last_error ORDER BY n DESC, last_error LIMIT 10
        """,
        until=until,
    )
    return [(row["last_error"], row["n"]) for row in rows]


def sums_to_confirm(connection: Connection, now: datetime, settled: datetime, limit: int) -> list[Sum]:
    """Sums of which everything was acknowledged by `settled` and not everything is confirmed, the longest waiting first."""
    rows = all_rows(
        connection,
        """
        SELECT r.user_id, r.stripe_customer_id, r.event_name, r.period_start, r.period_end, sum(r.value) AS value,
               max(r.acknowledged_at) AS acknowledged_at
        FROM stripe_reports AS r
        WHERE (r.user_id, r.event_name, r.period_start) IN (
            SELECT user_id, event_name, period_start FROM stripe_reports
            WHERE state = 'acknowledged' AND (next_attempt_at IS NULL OR next_attempt_at <= :now))
          AND NOT EXISTS (
            SELECT FROM stripe_reports AS other
            WHERE other.user_id = r.user_id AND other.event_name = r.event_name AND other.period_start = r.period_start
              AND other.state NOT IN ('acknowledged', 'confirmed', 'missed'))
          AND r.state <> 'missed'
        GROUP BY r.user_id, r.stripe_customer_id, r.event_name, r.period_start, r.period_end
        HAVING max(r.acknowledged_at) <= :settled
        ORDER BY max(r.acknowledged_at) LIMIT :limit
        """,
        now=now,
        settled=settled,
        limit=limit,
    )
    return [_sum(row) for row in rows]


def save_confirmed(connection: Connection, one: Sum) -> None:
    """Note that Stripe has counted a sum."""
    change(
        connection,
        f"UPDATE stripe_reports SET state = 'confirmed', next_attempt_at = NULL, last_error = NULL {_OF_SUM}",  # noqa: S608 - from constants
        **one.parameters,
    )


def lock_sum(connection: Connection, one: Sum) -> list[Report]:
    """The rows of a sum that Stripe has acknowledged, locked."""
    rows = all_rows(
        connection,
        f"SELECT {_COLUMNS} FROM stripe_reports AS r {_OF_CUSTOMER} ORDER BY r.id FOR UPDATE",  # noqa: S608 - from constants
        **one.parameters,
    )
    return [_report(row) for row in rows]


def save_unconfirmed(connection: Connection, one: Sum, reason: str, again_at: datetime) -> list[UUID]:
    """Note why a sum is not confirmed, and when to look again; the invoices concerned."""
    rows = all_rows(
        connection,
        f"""
        UPDATE stripe_reports SET last_error = :reason, next_attempt_at = :again {_OF_SUM} RETURNING invoice_id
        """,  # noqa: S608 - from constants
        **one.parameters,
        reason=reason,
        again=again_at,
    )
    return sorted({row["invoice_id"] for row in rows if row["invoice_id"] is not None})


def reports_of(connection: Connection, keys: Iterable[PeriodKey]) -> dict[PeriodKey, list[Report]]:
    """All rows about periods, by period."""
    found: dict[PeriodKey, list[Report]] = {key: [] for key in keys}
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM json_to_recordset(CAST(:keys AS json)) AS k(user_id text, period_start timestamptz)
        JOIN stripe_reports AS r ON r.user_id = k.user_id AND r.period_start = k.period_start
        ORDER BY r.revision, r.model_id, r.token_type
        """,  # noqa: S608 - put together from constants
        keys=json.dumps([{"user_id": user_id, "period_start": start.isoformat()} for user_id, start in found]),
    )
    for row in rows:
        report = _report(row)
        found[report.user_id, report.period.start].append(report)
    return found


def _report(row: dict[str, Any]) -> Report:
    start, end = row.pop("window_start"), row.pop("window_end")
    period = Period(row.pop("period_start"), row.pop("period_end"))
    return Report(period=period, window=None if start is None else Period(start, end), **row)


def _sum(row: dict[str, Any]) -> Sum:
    return Sum(period=Period(row.pop("period_start"), row.pop("period_end")), **row)


def _report_json(report: Report) -> dict[str, Any]:
    return {
        "id": str(report.id),
        "invoice_id": None if report.invoice_id is None else str(report.invoice_id),
        "user_id": report.user_id,
        "period_start": report.period.start.isoformat(),
        "period_end": report.period.end.isoformat(),
        "window_start": None if report.window is None else report.window.start.isoformat(),
        "window_end": None if report.window is None else report.window.end.isoformat(),
        "model_id": report.model_id,
        "token_type": report.token_type,
        "revision": report.revision,
        "event_name": report.event_name,
        "identifier": report.identifier,
        "value": f"{report.value:f}",
        "timestamp": report.timestamp.isoformat(),
        "created_at": report.created_at.isoformat(),
    }


_CHANGING = (
    "id", "identifier", "timestamp", "stripe_customer_id", "state", "key_attempt", "attempts", "first_sent_at",
    "last_sent_at", "next_attempt_at", "acknowledged_at", "last_error",
)  # fmt: skip
_OF_CUSTOMER = """
WHERE user_id = :user AND event_name = :event_name AND period_start = :start AND stripe_customer_id = :customer
  AND state IN ('acknowledged', 'confirmed')
"""
_OF_SUM = f"{_OF_CUSTOMER} AND state = 'acknowledged'"
