"""Sweeping: what a process that was killed left behind, and what should stand ready."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.usage import Usage
from tollkeeper.services.journaling import refuse, replay
from tollkeeper.storage.database import Database, all_rows, change
from tollkeeper.storage.partitions import months_ahead
from tollkeeper.storage.schema import make_partitions, missing_partitions
from tollkeeper.storage.settlement import Settlement

log = logging.getLogger(__name__)

HOLDS_AT_ONCE = 500
UNKNOWN_MODEL = "unknown"


async def settle_expired_holds(url: str, schema: str | None, database: Database, now: datetime) -> int:
    """End every hold that outlived its time; how many there were.

    Whoever placed it was killed before the end of the answer left, so no client has received it whole. The request leaves
    its row all the same: without tokens or charge, not complete, and marked as not measured. The hold goes with the very
    commit that stores the row. A request that does settle late (its process was stalled, its usage waited in a journal) takes
    the place of that row, so it is counted, and once.
    """
    with database.transaction() as connection:
        holds = all_rows(
            connection,
            """
            SELECT id, user_id, started_at, model_id, method, path FROM holds
            WHERE expires_at < :now ORDER BY expires_at LIMIT :most
            """,
            now=now,
            most=HOLDS_AT_ONCE,
        )
    if not holds:
        return 0
    async with Settlement(url, schema) as settlement:
        answers = await settlement.settle([_lost_request(hold) for hold in holds], now=now)
    for hold, answer in zip(holds, answers, strict=True):
        if isinstance(answer, Exception):
            log.error("a lost request's row is refused, its hold is dropped without one: %s: %s", hold, answer)
            _drop(database, hold["id"])
    log.warning("%d requests were lost with their process; each has its row, without charge", len(holds))
    return len(holds)


async def replay_journals(url: str, schema: str | None, folder: Path, now: datetime) -> int:
    """Store the usage in journals whose process is gone; how many events there were."""
    async with Settlement(url, schema) as settlement:

        async def settle(events: Sequence[UsageEvent]) -> None:
            for event, answer in zip(events, await settlement.settle(events, now=now), strict=True):
                if isinstance(answer, Exception):
                    refuse(folder, event, answer)

        return await replay(folder, settle)


def _drop(database: Database, hold: UUID) -> None:
    """End a hold that would otherwise come up at every sweep and keep others from their turn."""
    with database.transaction() as connection:
        change(connection, "DELETE FROM holds WHERE id = :hold", hold=hold)


def make_partitions_ahead(database: Database, now: datetime) -> int:
    """Make the partitions that should stand ready and do not; how many."""
    with database.transaction() as connection:
        missing = missing_partitions(connection, months_ahead(now))
        make_partitions(connection, missing)
    return len(missing)


def _lost_request(hold: dict[str, Any]) -> UsageEvent:
    return UsageEvent(
        id=hold["id"],
        user_id=hold["user_id"],
        timestamp=hold["started_at"],
        usage=Usage(hold["model_id"] or UNKNOWN_MODEL),
        method=hold["method"],
        path=hold["path"],
        complete=False,
        state="not_reported",
        billable=False,
    )
