"""Watching: raise an alarm where something waits longer than it should. One alarm for each such time, not one for each row."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection

from tollkeeper.services.noting import note_alarm
from tollkeeper.storage.database import Database
from tollkeeper.storage.overdue import Overdue, stuck_reports, unclosed_periods, uncollected_invoices

REPORTS_WAIT = timedelta(minutes=45)
"""Stripe finalizes its own invoice an hour after the period's end: fifteen minutes are left for a person."""
INVOICES_WAIT = timedelta(hours=1)
CLOSES_WAIT = timedelta(hours=1)


def watch(database: Database, now: datetime, *, grace_seconds: int) -> list[str]:
    """Look for reports that Stripe has not acknowledged in time, for invoices that no collector has, and for periods that nobody
    closes; what there is, in words.
    """
    with database.transaction() as connection:
        reports = stuck_reports(connection, now - REPORTS_WAIT)
        invoices = uncollected_invoices(connection, now - INVOICES_WAIT)
        periods = unclosed_periods(connection, now - CLOSES_WAIT - timedelta(seconds=grace_seconds))
        found = [
            _alarm(connection, "reports to Stripe wait", reports, now),
            _alarm(connection, "invoices are not with their collector", invoices, now),
            _alarm(connection, "periods that are over are not closed", periods, now),
        ]
    return [text for text in found if text is not None]


def _alarm(connection: Connection, what: str, overdue: Overdue, now: datetime) -> str | None:
    if overdue.since is None:
        return None
    reason = f"; {overdue.reason}" if overdue.reason else ""
    text = f"{overdue.number} {what}, the oldest since {overdue.since:%Y-%m-%d %H:%M} UTC{reason}"
    note_alarm(connection, text, now, about=f"{what} since {overdue.since.isoformat()}")
    return text
