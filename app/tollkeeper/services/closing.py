"""Closing: freeze periods that are over, prove their totals, draft their invoices, and write down what Stripe is owed.

All of that happens for a customer in one transaction, and the customer's row is where closes of one customer queue up. So it
can be run by anybody at any time, twice at once, or be killed in the middle: each period has one invoice, or none yet.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError

from tollkeeper.domain.errors import StoreUnavailable, TollkeeperError
from tollkeeper.domain.sanity import NO_BOUND, SanityBound
from tollkeeper.services.drafting import STRIPE_TAKES_LATE, Drafting, Outcome
from tollkeeper.services.noting import note_alarm, note_close
from tollkeeper.services.opening import open_missing
from tollkeeper.services.owing import reports_owed
from tollkeeper.storage.collections import insert_collections
from tollkeeper.storage.credits import insert_entries, lock_grants
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import Collect, insert_drafts, invoices_of
from tollkeeper.storage.periods import (
    Due,
    PeriodKey,
    StoredPeriod,
    close_periods,
    count_by_status,
    count_waiting,
    due_customers,
    lock_customers,
    lock_late_periods,
    lock_periods,
    park_due,
    park_periods,
)
from tollkeeper.storage.proofs import proven_versions, shared_spans
from tollkeeper.storage.reports import Report, adopt_windows, insert_reports, reports_of

log = logging.getLogger(__name__)

_BAD_ROW = (
    DataError,
    IntegrityError,
    TollkeeperError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What one customer's row can raise, having been changed by hand."""
_CHUNKS_AHEAD = 20
"""For so many chunks the names of customers that are due are looked up at once."""
_MOST_FAILURES = 10
"""So many customers in a row that cannot be closed are no accident of theirs."""


@dataclass(frozen=True, slots=True)
class ClosingSummary:
    """How many periods this run closed and how many invoices it drafted.

    Of the periods that are over, `already` were closed before, `parked` wait for a person, and `waiting` for requests that
    are still running.
    """

    closed: int = 0
    invoices: int = 0
    already: int = 0
    parked: int = 0
    waiting: int = 0


def close_due(
    database: Database,
    *,
    now: datetime,
    as_of: datetime,
    collect: Collect = "meters",
    grace_seconds: int = 0,
    chunk: int = 500,
    retry_parked: bool = False,
    sanity: SanityBound = NO_BOUND,
    go_on: Callable[[], bool] = lambda: True,
) -> ClosingSummary:
    """Close every period that ended at or before `as_of` less the grace, `chunk` customers in a transaction.

    All usage stored by the moment it runs is billed, whenever it was recorded. `collect` is for plans that do not say. With
    a grace (the automatic close) what is locked or still running is left to the next run; without one (a person asks) locks
    are waited for, and what is still running will be late usage. `retry_parked` closes parked periods whose totals agree by
    now. A bill beyond the `sanity` bound parks its period. `go_on` is asked before every chunk; what is left then is
    closed by the next run.
    """
    automatic = grace_seconds > 0
    due = Due(now, as_of - timedelta(seconds=grace_seconds), heed_holds=automatic, retry_parked=retry_parked)
    open_missing(database, due.cutoff, chunk)
    run = _Run(database, due, Drafting(collect, due.now, sanity), wait=not automatic)
    run.prove(chunk)
    run.close_all(chunk, go_on)
    run.report_late()
    with database.transaction() as connection:
        counts = count_by_status(connection, due.cutoff)
        waiting = count_waiting(connection, due) if automatic else 0
    return ClosingSummary(
        closed=run.closed,
        invoices=run.invoices,
        already=max(counts.get("closed", 0) - run.closed, 0),
        parked=counts.get("parked", 0),
        waiting=waiting,
    )


def store_outcome(connection: Connection, outcome: Outcome, now: datetime, *, quietly: bool = True) -> None:
    """Write down what was decided on locked periods; `quietly`: a person asked, and no notice goes out."""
    close_periods(connection, [*outcome.closed, *outcome.billed_late], now)
    insert_drafts(connection, [(draft.invoice, draft.lines) for draft in outcome.drafts])
    if outcome.credits:  # most closes have little of this and the next three
        insert_entries(connection, outcome.credits, now)
    if outcome.collections:
        insert_collections(connection, outcome.collections)
    if outcome.reports:
        insert_reports(connection, outcome.reports)
    adopt_windows(connection, [draft.invoice.id for draft in outcome.drafts])
    if outcome.parked:
        park_periods(connection, outcome.parked)
    note_close(connection, outcome, now, quietly=quietly)


class _Run:
    """One run of the close."""

    def __init__(self, database: Database, due: Due, drafting: Drafting, *, wait: bool) -> None:
        self._database = database
        self._due = due
        self._drafting = drafting
        self._wait = wait
        self._names: list[str] = []
        self.closed = 0
        self.invoices = 0

    def prove(self, chunk: int) -> None:
        """Count the events of months that many have in common once for all; the others are counted chunk by chunk."""
        with self._database.transaction() as connection:
            spans = shared_spans(connection, self._due, chunk)
        proven: dict[PeriodKey, int] = {}
        for span in spans:
            with self._database.transaction() as connection:
                proven |= proven_versions(connection, self._due, span)
        self._drafting.proven = proven

    def close_all(self, chunk: int, go_on: Callable[[], bool] = lambda: True) -> None:
        """Close chunk by chunk, in the order of customers' names; one customer at a time where a chunk fails.

        A customer whose close fails is parked, so that the others are billed. Where it fails for everybody the fault is not
        theirs (a migration that has not run, say): then nobody is parked, and the error is raised.
        """
        place, size, alone_until = "", chunk, ""
        failed: dict[str, Exception] = {}
        some_closed = False
        while go_on():
            names = self._next(place, size, chunk * _CHUNKS_AHEAD)
            if not names:
                break
            users: list[str] = []
            try:
                self._close_some(users, names)
                some_closed = some_closed or bool(users)
            except StoreUnavailable:
                raise
            except _BAD_ROW as error:
                if not users:
                    raise
                if size > 1:
                    size, alone_until = 1, names[-1]
                    continue
                failed[users[0]] = error
                if len(failed) >= _MOST_FAILURES and not some_closed:
                    raise
            place = names[-1]
            if place >= alone_until:
                size = chunk
        self._park(failed, somebody_else_closed=some_closed)

    def _park(self, failed: Mapping[str, Exception], *, somebody_else_closed: bool) -> None:
        for user_id, error in failed.items():
            if not somebody_else_closed:
                raise error
            log.error("the close of customer %r failed, its periods are parked", user_id, exc_info=error)
            with self._database.transaction() as connection:
                park_due(connection, self._due, [user_id], f"the close failed: {type(error).__name__}")
                note_alarm(connection, f"the close failed: {type(error).__name__}", self._due.now, user_id=user_id)

    def report_late(self) -> None:
        """Owe Stripe what came late to closed periods whose own invoice there still takes it."""
        with self._database.transaction() as connection:
            periods = lock_late_periods(connection, self._due.now - STRIPE_TAKES_LATE, self._due.now)
            invoices = invoices_of(connection, [stored.key for stored in periods])
            told = reports_of(connection, [part.key for stored in periods for part in stored.parts])
            for stored in periods:
                live = [invoice for invoice, _ in invoices[stored.key] if invoice.status != "void"]
                for invoice in live[-1:]:
                    if invoice.collect == "meters":
                        self._report_late(connection, stored, told, invoice.id)

    def _report_late(
        self,
        connection: Connection,
        stored: StoredPeriod,
        told: Mapping[PeriodKey, Sequence[Report]],
        invoice_id: UUID,
    ) -> None:
        for part in stored.collected_parts:
            tariff = self._drafting.tariff(connection, part)
            owed = reports_owed(part, tariff, told[part.key], invoice_id=invoice_id, now=self._due.now)
            insert_reports(connection, owed)

    def _next(self, after: str, limit: int, ahead: int) -> list[str]:
        """The next customers that are due, out of a longer list: looking through all periods takes long where there are many."""
        names = self._names[bisect_right(self._names, after) :][:limit]
        if names:
            return names
        with self._database.transaction() as connection:
            self._names = due_customers(connection, self._due, after, ahead)
        return self._names[:limit]

    def _close_some(self, users: list[str], names: Sequence[str]) -> None:
        """Close some customers; those that nobody else has are put into `users`."""
        with self._database.transaction() as connection:
            users += lock_customers(connection, names, wait=self._wait)
            lock_grants(connection, users)
            outcome = self._drafting.decide(connection, lock_periods(connection, self._due, users, wait=self._wait))
            store_outcome(connection, outcome, self._due.now, quietly=self._wait)
        self.closed += len(outcome.closed)
        self.invoices += len(outcome.drafts)
