"""Monthly partitions of `usage_events`: made ahead, and made on demand for events of other months."""

from __future__ import annotations

from datetime import UTC, datetime

MONTHS_AHEAD = 3
ARCHIVED = "usage_archived"
"""The name under which the database refuses usage of a month that is archived."""
_LOCK = 0x70617274  # "part": two processes that make the same partition queue up


def month_start(at: datetime) -> datetime:
    """Midnight UTC on the first day of the month that `at` is in."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(start: datetime) -> datetime:
    """The first instant of the following month."""
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


def months_ahead(now: datetime) -> list[datetime]:
    """The month of `now` and those that should stand ready after it."""
    months = [month_start(now)]
    for _ in range(MONTHS_AHEAD):
        months.append(next_month(months[-1]))
    return months


def create_partition_sql(month: datetime) -> str:
    """Statements that make the partition of one month, and change nothing where it exists; refused for one that is archived.

    The table is made apart and attached, because `CREATE TABLE … PARTITION OF` would lock out every reader meanwhile.
    Every value in the text is made of digits, so nothing can be smuggled in.
    """
    start = month_start(month)
    name = f"usage_events_{start:%Y_%m}"
    return f"""
DO $$ BEGIN
    PERFORM pg_advisory_xact_lock({_LOCK});
    IF EXISTS (SELECT FROM archived_months WHERE month = '{start:%Y-%m-%d} 00:00:00+00') THEN
        RAISE EXCEPTION 'the usage of {start:%Y-%m} is archived'
            USING ERRCODE = 'check_violation', CONSTRAINT = '{ARCHIVED}';
    END IF;
    IF to_regclass('{name}') IS NULL THEN
        CREATE TABLE {name} (LIKE usage_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
        ALTER TABLE usage_events ATTACH PARTITION {name}
            FOR VALUES FROM ('{start:%Y-%m-%d} 00:00:00+00') TO ('{next_month(start):%Y-%m-%d} 00:00:00+00');
    END IF;
END $$"""  # noqa: S608 - made of digits and names of ours
