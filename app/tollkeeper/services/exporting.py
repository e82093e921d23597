"""Exporting: the very events behind a period or an invoice, as CSV that is written while it is read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from tollkeeper.domain.errors import NotFound, TollkeeperError
from tollkeeper.domain.period import Period
from tollkeeper.plain import instant
from tollkeeper.storage.archives import list_archives
from tollkeeper.storage.database import Database
from tollkeeper.storage.event_rows import EventRow, events_page
from tollkeeper.storage.invoices import lines_of, load_invoice
from tollkeeper.storage.partitions import next_month

MOST_ROWS = 1_000_000
"""What a spreadsheet can open. A period with more events is to be had day by day."""
_PAGE = 1_000
_HEADER = (
    "id", "timestamp", "model_id", "tokens_in", "tokens_out", "cached_tokens_in", "cache_write_tokens_in",
    "reasoning_tokens_out", "compute_minutes", "units", "cost_units", "status_code", "method", "path", "request_id",
    "estimated", "complete", "reverses",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class EventsArchived(TollkeeperError):
    """Some of the events asked for have left the database for an archive."""

    def __init__(self, month: datetime) -> None:
        super().__init__(f"the events of {month:%Y-%m} are in an archive")
        self.month = month


@dataclass(frozen=True, slots=True)
class Span:
    """Events of a half-open span; of one revision of its period where one is named."""

    period: Period
    revision: int | None = None


def spans_of_invoice(database: Database, user_id: str, invoice_id: UUID) -> list[Span]:
    """Where the events are that a customer's invoice bills; `NotFound` for anybody else's invoice."""
    with database.transaction() as connection:
        if load_invoice(connection, invoice_id).user_id != user_id:
            raise NotFound("invoice", str(invoice_id))
        lines = lines_of(connection, invoice_id)
    billed = [line for line in lines if line.kind in ("usage", "late_usage", "adjustment")]
    return [Span(period, revision) for period, revision in dict.fromkeys((one.period, one.revision) for one in billed)]


def check_are_stored(database: Database, spans: Sequence[Span]) -> None:
    """`EventsArchived` where events of a span are not in the database any more: a file without them would be no answer."""
    with database.transaction() as connection:
        months = [archive.month for archive in list_archives(connection)]
    for month in months:
        if any(month < span.period.end and next_month(month) > span.period.start for span in spans):
            raise EventsArchived(month)


def events_csv(database: Database, user_id: str, spans: Sequence[Span], most: int = MOST_ROWS) -> Iterator[str]:
    """The customer's billable events of some spans, a page of CSV at a time; at most `most` of them.

    Each page is a transaction of its own, so a slow reader holds nothing open.
    """
    yield _csv([_HEADER])
    left = most
    for span in spans:
        after: tuple[datetime, UUID] | None = None
        while left:
            with database.transaction() as connection:
                revisions = None if span.revision is None else [span.revision]
                page = events_page(connection, user_id, span.period, revisions, after, min(_PAGE, left))
            if not page:
                break
            yield _csv([_cells(event) for event in page])
            left -= len(page)
            after = (page[-1].timestamp, page[-1].id)


def _cells(event: EventRow) -> list[str]:
    return [_cell(getattr(event, column)) for column in _HEADER]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return json.dumps(value, default=str) if value else ""
    return _harmless(value) if isinstance(value, str) else str(value)


def _harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula: it came from outside."""
    return "'" + text if text.startswith(_FORMULA) else text


def _csv(rows: Sequence[Sequence[str]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()
