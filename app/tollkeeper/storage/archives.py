"""Months of usage that leave the database: which may, what their events add up to, and how they go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from tollkeeper.domain.period import Period
from tollkeeper.domain.plan_part import spans
from tollkeeper.storage.database import all_rows, change, first_row
from tollkeeper.storage.event_sums import Group
from tollkeeper.storage.partitions import next_month
from tollkeeper.storage.plan_parts import plan_parts_from_json
from tollkeeper.storage.totals import totals_to_json

_PAGE = 500
_LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True)
class Archive:
    """A row of `archived_months`."""

    month: datetime
    file: str
    events: int
    bytes: int
    sha256: str
    archived_at: datetime


def stored_months(connection: Connection) -> list[datetime]:
    """The months that `usage_events` has a partition for, oldest first."""
    rows = all_rows(
        connection,
        """
        SELECT c.relname AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = CAST('usage_events' AS regclass) AND c.relname ~ '^usage_events_[0-9]{4}_[0-9]{2}$'
        ORDER BY c.relname
        """,
    )
    return [datetime.strptime(row["name"], "usage_events_%Y_%m").replace(tzinfo=UTC) for row in rows]


def lock_month(connection: Connection, month: datetime) -> None:
    """Let nothing be added to a month until the transaction ends; it can still be read."""
    connection.exec_driver_sql(f"LOCK TABLE {_name(month)} IN SHARE MODE")


def reasons_to_keep(connection: Connection, month: datetime) -> dict[str, int]:
    """What of a month is not settled yet, by what it is, with how much of it there is; empty for one that may go."""
    row = first_row(
        connection,
        f"""
        SELECT (SELECT count(*) FROM usage_periods AS u WHERE u.period_start < :high AND u.period_end > :low
                AND u.status <> 'closed') AS "periods that are not closed",
               (SELECT count(*) FROM usage_periods AS u WHERE u.period_start < :high AND u.period_end > :low
                AND u.status = 'closed' AND u.totals <> u.billed_totals) AS "periods with late usage that waits for an invoice",
               (SELECT count(*) FROM stripe_reports AS r WHERE r.period_start < :high AND r.period_end > :low
                AND r.state IN ('pending', 'sending', 'rejected')) AS "reports that Stripe has not acknowledged",
               (SELECT count(*) FROM invoices AS i WHERE i.period_start < :high AND i.period_end > :low
                AND i.status = 'draft' AND i.collect <> 'off') AS "drafts that are to be collected",
               (SELECT count(*) FROM {_name(month)} WHERE unpriced) AS "events without a price",
               (SELECT count(*) FROM {_name(month)} AS e WHERE e.billable AND NOT EXISTS (
                    SELECT FROM usage_periods AS u WHERE u.user_id = e.user_id
                    AND e."timestamp" >= u.period_start AND e."timestamp" < u.period_end)) AS "events in no period"
        """,  # noqa: S608 - the name is made of digits
        low=month,
        high=next_month(month),
    )
    assert row is not None
    return {what: number for what, number in row.items() if number}


def periods_in(connection: Connection, month: datetime) -> Iterator[list[tuple[str, Period]]]:
    """All customers' periods that share an instant with a month, those of several plans part by part, a page at a time."""
    user_id, start = "", datetime.min.replace(tzinfo=UTC)
    while True:
        rows = all_rows(
            connection,
            """
            SELECT user_id, period_start, period_end, plan_parts FROM usage_periods
            WHERE period_start < :high AND period_end > :low AND (user_id, period_start) > (:user, :start)
            ORDER BY user_id, period_start LIMIT :limit
            """,
            low=month,
            high=next_month(month),
            user=user_id,
            start=start,
            limit=_PAGE,
        )
        if not rows:
            return
        yield [(row["user_id"], span) for row in rows for span in _spans(row)]
        user_id, start = rows[-1]["user_id"], rows[-1]["period_start"]


def _spans(row: dict[str, Any]) -> list[Period]:
    parts = plan_parts_from_json(row["plan_parts"] or ())
    return spans([part.start for part in parts] or [row["period_start"]], row["period_end"])


def rows_as_csv(connection: Connection, month: datetime) -> Iterator[bytes]:
    """A month's rows as CSV with a header, in pieces as they come."""
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {_name(month)} TO STDOUT (FORMAT csv, HEADER)") as copy,
    ):
        for piece in copy:
            yield bytes(piece)


def count_rows(connection: Connection, month: datetime) -> int:
    """How many rows a month has."""
    row = first_row(connection, f"SELECT count(*) AS n FROM {_name(month)}")  # noqa: S608 - the name is made of digits
    assert row is not None
    return int(row["n"])


def insert_archive(connection: Connection, archive: Archive) -> None:
    """Note that a month is in a file."""
    change(
        connection,
        """
        INSERT INTO archived_months (month, file, events, bytes, sha256, archived_at)
        VALUES (:month, :file, :events, :bytes, :sha256, :at)
        """,
        month=archive.month,
        file=archive.file,
        events=archive.events,
        bytes=archive.bytes,
        sha256=archive.sha256,
        at=archive.archived_at,
    )


def insert_sums(connection: Connection, month: datetime, groups: Iterable[Group]) -> None:
    """Keep what a month's events add up to, one group of a period each."""
    change(
        connection,
        """
        INSERT INTO archived_sums (month, user_id, period_start, revision, taken_back, events, sums)
        SELECT :month, r.user_id, r.period_start, r.revision, r.taken_back, r.events, r.sums
        FROM json_to_recordset(CAST(:rows AS json)) AS r(
            user_id text, period_start timestamptz, revision smallint, taken_back boolean, events bigint, sums jsonb)
        """,
        month=month,
        rows=json.dumps(
            [
                {
                    "user_id": group.user_id,
                    "period_start": group.period_start.isoformat(),
                    "revision": group.revision,
                    "taken_back": group.taken_back,
                    "events": group.events,
                    "sums": totals_to_json(group.summed),
                }
                for group in groups
            ]
        ),
    )


def drop_month(connection: Connection, month: datetime, patience_ms: int) -> bool:
    """Take a month out of `usage_events`, and away; False where others used the table for longer than our patience.

    Requests wait meanwhile, so the patience is a fraction of a request's own. What the transaction did before stays.
    """
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {patience_ms:d}")
            connection.exec_driver_sql(f"ALTER TABLE usage_events DETACH PARTITION {_name(month)}")
            connection.exec_driver_sql(f"DROP TABLE {_name(month)}")
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


def list_archives(connection: Connection) -> list[Archive]:
    """All archived months, oldest first."""
    rows = all_rows(
        connection, "SELECT month, file, events, bytes, sha256, archived_at FROM archived_months ORDER BY month"
    )
    return [Archive(**row) for row in rows]


def _name(month: datetime) -> str:
    return f"usage_events_{month:%Y_%m}"
