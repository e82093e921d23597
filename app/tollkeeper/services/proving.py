"""Proving: reconcile by itself, once a day, a page at a time, and keep what was found.

A run is a row that remembers how far it has come. So it may take longer than one task, be killed in the middle or be asked
for by several workers, and beat may have been away: what counts is when the last run began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from tollkeeper.clock import Clock
from tollkeeper.services.collecting import Collectors
from tollkeeper.services.noting import note_alarm
from tollkeeper.services.reading import SumReader
from tollkeeper.services.reconciled import ReconciledPeriod
from tollkeeper.services.reconciling import compare_page, strays
from tollkeeper.storage.database import Database
from tollkeeper.storage.reconciliations import ReconcilingRun, begin_run, claim_run, last_run, save_page

if TYPE_CHECKING:
    from tollkeeper.payments.stripe import StripePayments

EVERY = timedelta(days=1)
LOOKS_BACK = timedelta(days=40)
"""The open periods and those that ended last: what is older is proven by `tollkeeper reconcile`."""


def prove_daily(
    database: Database,
    stripe: StripePayments | None,
    clock: Clock,
    *,
    collectors: Collectors | None = None,
    budget_seconds: float = 120,
) -> int:
    """Begin today's run where none was, or go on with it while time is left; how many periods were compared."""
    now, until = clock.now(), clock.monotonic() + budget_seconds
    with database.transaction() as connection:
        begin_run(connection, now, now - EVERY, now - LOOKS_BACK)
    reader = None if stripe is None else SumReader(stripe)
    compared = 0
    while (page := _compare_next(database, reader, collectors or {}, clock)) is not None:
        compared += page
        if clock.monotonic() >= until:
            break
    return compared


def last_proof(database: Database) -> ReconcilingRun | None:
    """What the newest run has found; None where none has come to its end yet."""
    with database.transaction() as connection:
        return last_run(connection)


def _compare_next(database: Database, reader: SumReader | None, collectors: Collectors, clock: Clock) -> int | None:
    """Compare one page of the run under way; how many periods it had, None where there is no more to do."""
    with database.transaction() as connection:
        run = claim_run(connection)
        if run is None:
            return None
        rows, place = compare_page(database, reader, collectors, run.place, now=clock.now(), since=run.since)
        found = list(_differences(rows))
        if place is None:
            found += [f"{user}: {n} events lie in no period" for user, n in strays(database, run.since).items()]
        ended_at = clock.now() if place is None else None
        save_page(connection, run.id, periods=len(rows), differences=found, place=place, ended_at=ended_at)
        if place is None and (all_found := [*run.differences, *found]):
            text = f"reconciling found {run.differing + len(found)} differences, the first: {all_found[0]}"
            note_alarm(connection, text, clock.now(), about=f"reconciliation {run.id}")
        return len(rows)


def _differences(rows: Sequence[ReconciledPeriod]) -> Iterator[str]:
    for row in rows:
        for difference in row.differences:
            yield f"{row.user_id} {row.period.start:%Y-%m-%d}: {difference}"
