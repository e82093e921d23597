"""Gauging: the figures of the database that monitoring watches, read at most every few seconds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.services.journaling import count_refused
from tollkeeper.storage import standing
from tollkeeper.storage.database import Database
from tollkeeper.telemetry.prometheus import Gauge

_BACKLOG = {
    "holds": "Money set aside for requests that are running.",
    "expired_holds": "Holds of requests that nobody has heard of in time; swept within a minute.",
    "parked_periods": "Periods that were not closed because their figures are in doubt.",
    "periods_due": "Periods that are over and not closed yet.",
    "unpriced_events": "Events of models that have no price: not billed until they have one.",
    "unpriced_customers": "Customers with events of models that have no price.",
    "invoice_alarms": "Invoices that do not agree with the payment side.",
    "webhooks_pending": "Webhook events stored and not applied yet.",
    "webhooks_failed": "Webhook events that could not be applied.",
    "oldest_report_seconds": "Age of the oldest report that is not acknowledged.",
    "notices_parked": "Notices that were given up after many attempts, or refused for good.",
    "oldest_notice_seconds": "Age of the oldest notice that is on its way to somebody.",
    "reconcile_differences": "What the last daily reconciling found that must not be.",
    "reconciled_seconds": "Time since the last daily reconciling came to its end.",
    "beat_silent_seconds": "Time since any beat said that it is alive.",
    "workers_silent_seconds": "Time since a message last came through broker and worker.",
}
_BY_STATE = {"invoices": "Invoices by status.", "reports": "Reports to the payment side by state."}


def gauges(database: Database, journal: Path, now: datetime) -> list[Gauge]:
    """All figures as of now. While the database is away `database_up` is 0 and only this machine's own are there."""
    own = [
        Gauge(
            "journal_files",
            "Files of usage on this machine's disk that wait for the database.",
            [("", _waiting(journal))],
        ),
        Gauge(
            "journal_refused_events",
            "Events on this machine's disk that the database refuses.",
            [("", count_refused(journal))],
        ),
    ]
    try:
        with database.transaction() as connection:
            backlog, states = standing.backlog(connection, now), standing.by_state(connection)
    except TollkeeperError:
        return [_up(0), *own]
    return [
        _up(1),
        *own,
        *[Gauge(name, _BACKLOG[name], [("", value)]) for name, value in backlog.items()],
        *[Gauge(name, _BY_STATE[name], list(values.items()), "state") for name, values in states.items()],
    ]


def _up(value: int) -> Gauge:
    return Gauge("database_up", "1 while the database answers.", [("", value)])


def _waiting(journal: Path) -> int:
    return len(list(journal.glob("*.jsonl")))
