"""Quarantining: usage that could not be attributed is kept, shown, and offered again once its cause is mended.

It comes from rows that `usage import` rejected (an unknown customer, a time still to come, no price on a plan that refuses
what it cannot price) and from the journal's `refused` file. An event's id makes offering it again harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from tollkeeper.domain.customer import plain_text
from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.domain.event import UsageEvent
from tollkeeper.services.importing import reason_of
from tollkeeper.services.journaling import read_line, refused_lines
from tollkeeper.services.usage_row import event_of, json_row
from tollkeeper.storage.audit import Deed, record_all
from tollkeeper.storage.database import Database
from tollkeeper.storage.quarantine import Quarantined, Refused, keep_refused, quarantined, settle_quarantined
from tollkeeper.storage.settlement import Charge, Settled, Settlement

PAGE = 500


@dataclass(frozen=True, slots=True)
class Retried:
    """How many rows became events (or were events already), and how many still wait."""

    accepted: int = 0
    waiting: int = 0


def list_quarantined(database: Database, *, everything: bool = False, limit: int = PAGE) -> list[Quarantined]:
    """The oldest rows that wait, or of all."""
    with database.transaction() as connection:
        return quarantined(connection, everything=everything, limit=limit)


def retry(database: Database, now: datetime, ids: Sequence[UUID] | None = None) -> Retried:
    """Offer rows again: all that wait, or some. `NotFound` where one that is named does not wait."""
    if ids is not None:
        _check_waiting(database, ids)
    return asyncio.run(_retry(database, now, ids))


def drop(database: Database, ids: Sequence[UUID], *, by: str, reason: str, now: datetime) -> int:
    """Give rows up for good; they stay to be seen. `NotFound` where one does not wait."""
    plain_text(by, "by")
    plain_text(reason, "reason")
    _check_waiting(database, ids)
    with database.transaction() as connection:
        rows = quarantined(connection, ids=ids, limit=len(ids))
        dropped = settle_quarantined(connection, [row.id for row in rows], "dropped", now)
        deeds = [Deed("usage.dropped", str(row.id), after={"why_refused": row.reason}, reason=reason) for row in rows]
        record_all(connection, deeds, now, by=by)
    return dropped


def collect_refused(database: Database, folder: Path, now: datetime) -> int:
    """Take over what stands in the journal's `refused` file, and empty it once it is stored; how many rows there were."""
    count = 0
    with refused_lines(folder) as lines:
        rows = [_from_journal(line) for line in lines]
        if rows:
            with database.transaction() as connection:
                keep_refused(connection, rows, now)
            count = len(rows)
    return count


def _from_journal(line: str) -> Refused:
    event, reason = read_line(line)
    if event is None:
        return Refused("journal", line, reason)
    return Refused("journal", line, reason, event_id=str(event.id), user_id=event.user_id)


def _check_waiting(database: Database, ids: Sequence[UUID]) -> None:
    with database.transaction() as connection:
        found = {row.id for row in quarantined(connection, ids=ids, limit=max(len(ids), 1))}
    for one in ids:
        if one not in found:
            raise NotFound("row that waits in quarantine", str(one))


async def _retry(database: Database, now: datetime, ids: Sequence[UUID] | None) -> Retried:
    done, after = Retried(), None
    async with Settlement(database.url, database.schema) as settlement:
        while True:
            with database.transaction() as connection:
                page = quarantined(connection, ids=ids, after=after, limit=PAGE)
            if not page:
                return done
            accepted, still = await _offer(settlement, page, now)
            with database.transaction() as connection:
                settle_quarantined(connection, accepted, "accepted", now)
                keep_refused(connection, still, now)
            done = Retried(done.accepted + len(accepted), done.waiting + len(still))
            after = page[-1].created_at, page[-1].id


async def _offer(
    settlement: Settlement, page: Sequence[Quarantined], now: datetime
) -> tuple[list[UUID], list[Refused]]:
    """Of a page, the rows that are events now, and those that are refused again."""
    found = [(row, _event(row, now)) for row in page]
    charges = [
        Charge(event, now, refuse_unpriced=row.source == "import")
        for row, event in found
        if isinstance(event, UsageEvent)
    ]
    answers = iter(await settlement.store(charges, look_up=True) if charges else [])
    accepted, still = [], []
    for row, event in found:
        outcome = next(answers) if isinstance(event, UsageEvent) else event
        if isinstance(outcome, Settled) and outcome.status != "conflict":
            accepted.append(row.id)
        else:
            reason = outcome if isinstance(outcome, str) else reason_of(outcome)
            still.append(Refused(row.source, row.payload, reason, row.event_id, row.user_id))
    return accepted, still


def _event(row: Quarantined, now: datetime) -> UsageEvent | str:
    """The event that a row states, or why there is none."""
    if row.source == "journal":
        event, reason = read_line(row.payload)
        return event or reason
    try:
        return event_of(json_row(row.payload), now)
    except InvalidInput as error:
        return str(error)
