"""Reporting: tell Stripe what closed periods owe, so that it counts once, whatever happens in between.

Every call has a row that was committed before it. What comes back decides what the row becomes; where nothing comes back the
same call is made again, and Stripe knows it by its identifier. It knows it for a day only: after that the row is settled by
reading Stripe's own sum, never by sending again on hope.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.payments.outcome import (
    Accepted,
    AlreadyThere,
    Failed,
    MeterEventOutcome,
    OutcomeUnknown,
    RateLimited,
    Refused,
    Unanswered,
)
from tollkeeper.services.missing import OwnInvoices, restamped, settle_by_item
from tollkeeper.services.noting import note_alarm, note_moves
from tollkeeper.services.owing import next_identifier
from tollkeeper.services.reading import SumReader, Untold
from tollkeeper.services.retrying import LONGEST_WAIT, wait_after
from tollkeeper.storage.audit import record
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import call_off_alarm, finalize_reported, sound_alarm
from tollkeeper.storage.reports import (
    Candidate,
    Report,
    Sum,
    claim_report,
    count_unacknowledged,
    lock_reports_of,
    lock_sum,
    note_unknown_to_stripe,
    reasons_unacknowledged,
    reject_reported,
    same_sum,
    save_confirmed,
    save_report,
    save_unconfirmed,
    sendable_reports,
    sums_to_confirm,
)

if TYPE_CHECKING:
    from tollkeeper.payments.stripe import StripePayments

log = logging.getLogger(__name__)

LEASE = timedelta(minutes=2)
"""After this a call under way counts as lost with its process."""
IDENTIFIER_KNOWN_FOR = timedelta(hours=23)
"""Stripe knows a repeated identifier for at least 24 hours; an hour is left for clocks and slow calls."""
SUMS_LAG = timedelta(hours=1)
"""How long Stripe's sums are given to catch up before anything is decided by them."""
LOOK_AGAIN = timedelta(minutes=15)
_MOST_FAILURES_IN_A_ROW = 3
_MOST_DOUBTFUL = 16


@dataclass(frozen=True, slots=True)
class ReportingSummary:
    """What one run did, and how many rows of periods that are over Stripe has not acknowledged after it."""

    sent: int = 0
    acknowledged: int = 0
    finalized: int = 0
    pending: int = 0
    rejected: int = 0
    more: bool = False
    """The run stopped at its limit, and there is more to do at once."""

    @property
    def unacknowledged(self) -> int:
        return self.pending + self.rejected


@dataclass(frozen=True, slots=True)
class Confirming:
    """How many sums were read back: those that agree, and those that do not (yet)."""

    confirmed: int = 0
    differing: int = 0
    more: bool = False
    """The run stopped at its limit, and there is more to do at once."""


def report_owed(
    database: Database,
    stripe: StripePayments,
    *,
    now: datetime,
    as_of: datetime | None = None,
    limit: int = 100,
    insist: bool = False,
) -> ReportingSummary:
    """Report what periods that ended at or before `as_of` owe; a period that is not over by `now` is never reported.

    At most `limit` rows in a run. `insist` is a person asking: rows that wait for a later attempt are tried now, and those
    that Stripe rejected are tried again.
    """
    run = _Run(database, stripe, now, insist=insist)
    until = now if as_of is None else min(as_of, now)
    with database.transaction() as connection:
        note_unknown_to_stripe(connection, until)
        candidates = sendable_reports(connection, now, until, limit, insist=insist)
    for candidate in candidates:
        run.report(candidate)
        if run.gave_up:
            break
    with database.transaction() as connection:
        run.finalize(connection)
        left = count_unacknowledged(connection, until)
    rejected = left.pop("rejected", 0)
    return ReportingSummary(
        sent=run.sent,
        acknowledged=run.acknowledged,
        finalized=run.finalized,
        pending=sum(left.values()),
        rejected=rejected,
        more=len(candidates) == limit and not run.gave_up,
    )


def why_unacknowledged(database: Database, until: datetime) -> list[tuple[str, int]]:
    """Why rows of periods over by `until` are not acknowledged, and how many wait for each reason; those without one left out."""
    with database.transaction() as connection:
        return reasons_unacknowledged(connection, until)


def confirm_reported(
    database: Database,
    stripe: StripePayments,
    *,
    now: datetime,
    settle: timedelta = timedelta(minutes=5),
    limit: int = 100,
) -> Confirming:
    """Read back what was acknowledged at least `settle` ago: what Stripe's sums agree with becomes confirmed.

    A sum that still differs after an hour is an alarm on its invoices, and what it lacks is rejected.
    """
    run = _Run(database, stripe, now)
    with database.transaction() as connection:
        sums = sums_to_confirm(connection, now, now - settle, limit)
    agree = [run.confirm(one) for one in sums]
    return Confirming(sum(agree), len(agree) - sum(agree), more=len(sums) == limit)


def applied(doubtful: Sequence[Report], remainder: Decimal) -> frozenset[UUID] | None:
    """Which rows a sum contains, given what of it no other row explains; None where that cannot be told.

    Where several combinations fit any of them will do: what is left out is sent, and the sum comes out right.
    """
    if remainder >= sum(report.value for report in doubtful) and all(report.value > 0 for report in doubtful):
        return frozenset(report.id for report in doubtful)
    reached: dict[Decimal, frozenset[UUID]] = {Decimal(0): frozenset()}
    for report in doubtful if len(doubtful) <= _MOST_DOUBTFUL else ():
        reached = {value + report.value: rows | {report.id} for value, rows in reached.items()} | reached
    return reached.get(remainder)


class _Run:
    """One run of the reporter: what it works with, and what it has done so far."""

    def __init__(self, database: Database, stripe: StripePayments, now: datetime, *, insist: bool = False) -> None:
        self._database = database
        self._stripe = stripe
        self._now = now
        self._insist = insist
        self._sums = SumReader(stripe)
        self._own_invoices = OwnInvoices(stripe)
        self._failures = 0
        self.sent = 0
        self.acknowledged = 0
        self.finalized = 0
        self.gave_up = False

    def report(self, candidate: Candidate) -> None:
        """Send one row, settle it by reading where Stripe would not know it again, or by an item where it comes too late."""
        late = self._own_invoices.miss(candidate, self._now)
        if not isinstance(late, bool):
            self._say_that_invoice_is_unknown(candidate, late)
            self._count_failure(failed=True)
            return
        report, read_first = self._claim(candidate, late=late)
        if report is not None and read_first:
            report = self._claim(candidate, late=late)[0] if self._settle_by_reading(report) else None
        if report is not None and late:
            self._miss(report)
        elif report is not None:
            self.sent += 1
            self._record(report, self._send(report))

    @staticmethod
    def _say_that_invoice_is_unknown(candidate: Candidate, why: Unanswered) -> None:
        from tollkeeper.payments.stripe import StripeDidNotAnswer

        what = "whether Stripe's own invoice to %s is final is not known, so its reports wait: %s"
        log.warning(what, candidate.customer, StripeDidNotAnswer(why))

    def confirm(self, one: Sum) -> bool:
        """Compare one sum with Stripe's."""
        total = self._sums.total(one.event_name, one.stripe_customer_id, one.period)
        if total == one.value:
            with self._database.transaction() as connection:
                save_confirmed(connection, one)
            return True
        if isinstance(total, Untold):
            reason, alarming = total.reason, not total.for_now
        else:
            reason, alarming = f"Stripe counts {total:f} {one.event_name}, reported were {one.value:f}", True
        alarm = alarming and self._now - one.acknowledged_at > SUMS_LAG
        log.log(logging.ERROR if alarm else logging.INFO, "a sum of %s is not confirmed: %s", one.event_name, reason)
        with self._database.transaction() as connection:
            for invoice_id in save_unconfirmed(connection, one, reason, self._now + LOOK_AGAIN):
                if alarm:
                    sound_alarm(connection, invoice_id, reason)
            if alarm:
                self._reject_missing(connection, one, total, reason)
        return False

    def _reject_missing(self, connection: Connection, one: Sum, total: Decimal | Untold, reason: str) -> None:
        """Park what Stripe took and has not counted, where its sum tells which that is."""
        rows = lock_sum(connection, one)
        waiting = [row for row in rows if row.state == "acknowledged"]
        there: frozenset[UUID] | None = frozenset()
        if isinstance(total, Decimal):
            there = applied(waiting, total - sum(row.value for row in rows if row.state == "confirmed"))
        elif not total.gone:
            there = None
        for row in waiting if there is not None else ():
            if there is not None and row.id not in there:
                self._record_outcome(connection, replace(row, state="rejected", last_error=reason))
                reject_reported(connection, row.identifier, reason)

    def finalize(self, connection: Connection, invoice_id: UUID | None = None) -> None:
        """Let drafts (or one) be final that Stripe was told all of."""
        final = finalize_reported(connection, self._now, invoice_id)
        note_moves(connection, final, "finalized", self._now)
        self.finalized += len(final)

    def _record_outcome(self, connection: Connection, report: Report) -> None:
        told = {"event_name": report.event_name, "value": report.value, "invoice_id": report.invoice_id}
        kind = f"report.{report.state}"
        record(
            connection, kind, report.identifier, self._now, user_id=report.user_id, after=told, reason=report.last_error
        )

    def _claim(self, candidate: Candidate, *, late: bool) -> tuple[Report | None, bool]:
        """Write down that the row is about to be sent (or read back), and commit that before anything is done.

        The row, if it is still there to be claimed, and whether it has to be read back first.
        """
        with self._database.transaction() as connection:
            report = claim_report(connection, candidate, self._now, insist=self._insist)
            if report is None:
                return None, False
            read_first = self._must_be_read_first(report) or (late and report.first_sent_at is not None)
            # A refusal is stored under its key like any answer.
            key_attempt = report.key_attempt + (report.state == "rejected")
            report = restamped(report, self._now)
            claimed = replace(report, state="sending", key_attempt=key_attempt, next_attempt_at=self._now + LEASE)
            if not read_first:
                claimed = replace(
                    claimed,
                    attempts=report.attempts + 1,
                    first_sent_at=report.first_sent_at or self._now,
                    last_sent_at=self._now,
                )
            save_report(connection, claimed, claimed=claimed.attempts)
            return claimed, read_first

    def _must_be_read_first(self, report: Report) -> bool:
        """Whether Stripe would not know it again: it was sent long ago, or taken once and not counted."""
        too_old = report.first_sent_at is not None and self._now - report.first_sent_at > IDENTIFIER_KNOWN_FOR
        return too_old or report.was_taken

    def _send(self, report: Report) -> MeterEventOutcome:
        assert report.stripe_customer_id is not None, "rows without one are not sendable"
        return self._stripe.send_meter_event(
            event_name=report.event_name,
            identifier=report.identifier,
            timestamp=int(report.timestamp.timestamp()),
            payload={
                "stripe_customer_id": report.stripe_customer_id,
                "value": str(int(report.value)),
                "model": report.model_id,
                "token_type": report.token_type,
            },
            idempotency_key=report.idempotency_key,
        )

    def _count_failure(self, *, failed: bool) -> None:
        self._failures = self._failures + 1 if failed else 0
        self.gave_up = self.gave_up or self._failures >= _MOST_FAILURES_IN_A_ROW

    def _miss(self, report: Report) -> None:
        """Settle what Stripe's own invoice went out without, together with all else of the period that was never sent."""
        with self._database.transaction() as connection:
            rows = lock_reports_of(connection, report)
            others = [row for row in rows if row.id != report.id and row.invoice_id is not None]
            doubtful = any(_is_doubtful(row) for row in others)
            if not doubtful:
                missed = [report, *(row for row in others if row.state == "pending")]
                log.warning(
                    "%d reports missed Stripe's own invoice and become items: %s", len(missed), report.identifier
                )
                settle_by_item(connection, missed, rows, self._now)
                for row in missed:
                    call_off_alarm(connection, row.invoice_id, _rejection(row))
                    self._record_outcome(connection, replace(row, state="missed"))
                self.finalize(connection, report.invoice_id)
        if doubtful:
            reason = "it missed Stripe's own invoice; what became of others of its period has to be known first"
            self._put_off(report, reason, wait=LOOK_AGAIN, applied=False)

    def _record(self, report: Report, outcome: MeterEventOutcome) -> None:
        self._count_failure(failed=isinstance(outcome, OutcomeUnknown | Failed))
        self.gave_up = self.gave_up or isinstance(outcome, RateLimited)
        match outcome:
            case Accepted():
                self._acknowledge(report)
            case AlreadyThere() if report.attempts > 1:
                self._acknowledge(report)
            case AlreadyThere():
                self._identifier_taken(report)
            case RateLimited(seconds):
                self._put_off(
                    report, "too many calls at the moment", wait=wait_after(report.attempts, seconds), applied=False
                )
            case Failed(status, replayed=True):
                # The answer is stuck to the key for a day. The identifier stays, so nothing is counted twice.
                other_key = replace(report, key_attempt=report.key_attempt + 1)
                self._put_off(other_key, f"HTTP {status}, from an earlier attempt", wait=timedelta(0))
            case Failed(status):
                self._put_off(report, f"HTTP {status}", wait=wait_after(report.attempts))
            case OutcomeUnknown(reason):
                self._put_off(report, f"no answer: {reason}", wait=wait_after(report.attempts))
            case Refused() if outcome.about_the_key:
                log.error("Stripe does not accept the API key: %s", outcome.message)
                self._put_off(report, f"API key: {outcome.message}", wait=LONGEST_WAIT, applied=False)
                self.gave_up = True
            case Refused():
                self._reject(report, f"HTTP {outcome.status}: {outcome.message}", applied=False)

    def _acknowledge(self, report: Report) -> None:
        with self._database.transaction() as connection:
            self._save_acknowledged(connection, report)

    def _save_acknowledged(self, connection: Connection, report: Report) -> None:
        """Stripe has it; with the last row of an invoice, the invoice is final."""
        done = replace(report, state="acknowledged", acknowledged_at=self._now, next_attempt_at=None, last_error=None)
        if save_report(connection, done, claimed=report.attempts):
            call_off_alarm(connection, report.invoice_id, _rejection(report))
            self.acknowledged += 1
            self._record_outcome(connection, done)
            if report.invoice_id is not None:
                self.finalize(connection, report.invoice_id)

    def _put_off(
        self, report: Report, reason: str, *, wait: timedelta, applied: bool = True, alarm: bool = False
    ) -> None:
        """Try again later; `applied` unless it is sure that this attempt was not."""
        log.log(logging.ERROR if alarm else logging.WARNING, "report %s is put off: %s", report.identifier, reason)
        later = replace(
            report if applied else _unsent(report),
            state="pending",
            next_attempt_at=self._now + wait,
            last_error=reason,
        )
        with self._database.transaction() as connection:
            save_report(connection, later, claimed=report.attempts)
            if alarm:
                sound_alarm(connection, report.invoice_id, reason)

    def _reject(self, report: Report, reason: str, *, applied: bool = True) -> None:
        log.error("Stripe rejects report %s: %s", report.identifier, reason)
        rejected = replace(
            report if applied else _unsent(report), state="rejected", next_attempt_at=None, last_error=reason
        )
        with self._database.transaction() as connection:
            if save_report(connection, rejected, claimed=report.attempts):
                self._record_outcome(connection, rejected)
                note_alarm(connection, f"{_rejection(report)}: {reason}", self._now, user_id=report.user_id)
            sound_alarm(connection, report.invoice_id, _rejection(report))

    def _identifier_taken(self, report: Report) -> None:
        """Stripe knows the identifier and we never sent it: a database brought back from a copy, or somebody else's event."""
        total = self._sum_of(report)
        if isinstance(total, Decimal):
            with self._database.transaction() as connection:
                if report.value <= total - _acknowledged(same_sum(connection, report)):
                    self._save_acknowledged(connection, report)
                    return
        reason = "Stripe knows the identifier, but its sum does not hold this quantity"
        reason = total.reason if isinstance(total, Untold) else reason
        self._put_off(report, reason, wait=SUMS_LAG, applied=False, alarm=True)

    def _settle_by_reading(self, report: Report) -> bool:
        """Find out from Stripe's sum what became of a row that Stripe would no longer know again; True: it is to be sent."""
        total = self._sum_of(report)
        if isinstance(total, Untold):
            if total.gone:
                self._reject(report, total.reason)
            else:
                self._put_off(report, total.reason, wait=LOOK_AGAIN)
            return False
        with self._database.transaction() as connection:
            rows = same_sum(connection, report)
            settled_at = max(row.last_sent_at for row in rows if row.last_sent_at is not None) + SUMS_LAG
            found = applied([row for row in rows if _is_doubtful(row)], total - _acknowledged(rows))
            if found is not None and settled_at <= self._now:
                for row in rows:
                    if row.id in found:
                        self._save_acknowledged(connection, row)
                if report.id not in found:
                    save_report(connection, _anew(report), claimed=report.attempts)
                return report.id not in found
        if found is not None:
            self._put_off(report, "its last attempt may not be in Stripe's sum yet", wait=settled_at - self._now)
        else:
            reason = f"Stripe's sum of {total:f} {report.event_name} is no sum of what was sent"
            self._put_off(report, reason, wait=LOOK_AGAIN, alarm=True)
        return False

    def _sum_of(self, report: Report) -> Decimal | Untold:
        assert report.stripe_customer_id is not None, "only what was sent is read back"
        return self._sums.total(report.event_name, report.stripe_customer_id, report.period)


def _rejection(report: Report) -> str:
    return f"Stripe rejects the report of {report.model_id} {report.token_type}"


def _unsent(report: Report) -> Report:
    """The row after an attempt that was surely not applied: as if it had never been made, unless an earlier one is open."""
    if report.attempts > 1:
        return report
    return replace(report, attempts=0, first_sent_at=None, last_sent_at=None)


def _anew(report: Report) -> Report:
    """The row after Stripe's sum has shown that nothing of it was applied.

    What Stripe had taken needs another identifier, because it knows the old one, counted or not.
    """
    return replace(
        report,
        identifier=next_identifier(report.identifier) if report.was_taken else report.identifier,
        acknowledged_at=None,
        state="pending",
        key_attempt=report.key_attempt + 1,
        attempts=0,
        first_sent_at=None,
        last_sent_at=None,
        next_attempt_at=None,
        last_error=None,
    )


def _is_doubtful(report: Report) -> bool:
    return report.state in ("pending", "sending") and report.first_sent_at is not None


def _acknowledged(reports: Sequence[Report]) -> Decimal:
    return sum((row.value for row in reports if row.state in ("acknowledged", "confirmed")), Decimal(0))
