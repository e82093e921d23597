"""Collecting: have invoices that we priced ourselves collected, each once, whatever happens in between.

A row of `collections` is committed before anything is asked, and says what is asked in just the words that are sent. What is
already there is looked for before anything is made a second time; so an answer that was lost, a process that was killed and a
day of silence all come down to the same: look, and go on from what is there. The total is compared before the draft becomes
final, because a draft can be thrown away and nothing that comes after it can.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import Connection

from tollkeeper.domain.demand import Demand
from tollkeeper.domain.reference import read_charge_reference
from tollkeeper.payments.collector import CollectorStatus, InvoiceCollector, Standing
from tollkeeper.payments.outcome import Failed, OutcomeUnknown, RateLimited, Refused, Trouble
from tollkeeper.services.demanding import demand_for
from tollkeeper.services.failing import DECLINED, OVERDUE, note_failed, note_made_good
from tollkeeper.services.noting import note_moves
from tollkeeper.services.retrying import LONGEST_WAIT, wait_after
from tollkeeper.storage.collections import (
    Collection,
    CollectionKey,
    CollectorName,
    claim_collection,
    count_uncollected,
    customer_there,
    enter_drafts,
    is_still_mine,
    issued_to_look_at,
    look_again_at,
    note_unknown_there,
    reopen_collection,
    save_collection,
    sendable_collections,
)
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import (
    Invoice,
    InvoiceStatus,
    call_off_alarm,
    lock_invoice,
    name_stripe_invoice,
    save_status,
    sound_alarm,
)

log = logging.getLogger(__name__)

LEASE = timedelta(minutes=10)
"""After this a collector's call under way counts as lost with its process; a long invoice takes a while."""
KEY_KNOWN_FOR = timedelta(hours=23)
"""Keys are known for at least 24 hours; an hour is left for clocks and slow calls."""
SETTLED_AFTER = timedelta(hours=1)
"""How long an attempt without an answer is given to show itself, once its key can no longer be relied on."""
LOOK_AGAIN = timedelta(hours=12)
_MOST_FAILURES_IN_A_ROW = 3

Collectors = Mapping[CollectorName, InvoiceCollector]
Answer = TypeVar("Answer")

# What an invoice of ours becomes by how it stands at its collector, and in which order; nothing follows the last two.
_STATUS: Mapping[CollectorStatus, InvoiceStatus] = {
    "draft": "draft",
    "open": "finalized",
    "uncollectible": "uncollectible",
    "void": "void",
    "paid": "paid",
}
_RANK: Mapping[InvoiceStatus, int] = {"draft": 0, "finalized": 1, "uncollectible": 2, "void": 3, "paid": 3}


@dataclass(frozen=True, slots=True)
class CollectingSummary:
    """What one run did, and how many invoices of periods that are over are not with their collector after it."""

    tried: int = 0
    issued: int = 0
    nothing_due: int = 0
    pending: int = 0
    parked: int = 0
    more: bool = False
    """The run stopped at its limit, and there is more to do at once."""

    @property
    def uncollected(self) -> int:
        return self.pending + self.parked


class _InTheWay(Exception):
    """A call came to nothing."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(type(trouble).__name__)
        self.trouble = trouble


class _TakenOver(Exception):
    """Somebody else goes on with the row."""


def collect_owed(
    database: Database,
    collectors: Collectors,
    *,
    now: datetime,
    as_of: datetime | None = None,
    limit: int = 5,
    insist: bool = False,
    only: Sequence[CollectorName] | None = None,
) -> CollectingSummary:
    """Have invoices of periods that ended at or before `as_of` collected; never of one that is not over by `now`.

    At most `limit` invoices in a run. `insist` is a person asking: what waits for a later attempt is tried now, and what is
    parked is tried again. `only` leaves what others of the `collectors` collect to another run, and out of the counts.
    """
    run = _Run(database, collectors, now, insist=insist)
    until = now if as_of is None else min(as_of, now)
    with database.transaction() as connection:
        enter_drafts(connection, default_collector(collectors), now, until)
        note_unknown_there(connection)
        candidates = sendable_collections(connection, only or list(collectors), now, until, limit, insist=insist)
    for key in candidates:
        run.collect(key)
        if run.gave_up:
            break
    with database.transaction() as connection:
        left = count_uncollected(connection, until, only)
    parked = left.pop("parked", 0)
    return CollectingSummary(
        tried=run.tried,
        issued=run.issued,
        nothing_due=run.nothing_due,
        pending=sum(left.values()),
        parked=parked,
        more=len(candidates) == limit and not run.gave_up,
    )


def follow_collected(
    database: Database, collectors: Collectors, *, now: datetime, limit: int = 50, insist: bool = False
) -> int:
    """Look at issued invoices that somebody rang for, or of which nothing was heard for long; how many have moved on.

    `insist` looks at all that are not settled.
    """
    with database.transaction() as connection:
        due = now + LOOK_AGAIN if insist else now
        waiting = issued_to_look_at(connection, list(collectors), due, limit)
    run = _Run(database, collectors, now)
    return sum(run.follow(one) for one in waiting if not run.gave_up)


def default_collector(collectors: Collectors) -> CollectorName | None:
    """Who collects where the plan does not say: whoever is set up, Stripe before others."""
    return next((name for name in ("stripe", *collectors) if name in collectors and name != "stripe_items"), None)


class _Run:
    """One run: what it works with, and what it has done so far."""

    def __init__(self, database: Database, collectors: Collectors, now: datetime, *, insist: bool = False) -> None:
        self._database = database
        self._collectors = collectors
        self._now = now
        self._insist = insist
        self._failures = 0
        self.tried = 0
        self.issued = 0
        self.nothing_due = 0
        self.gave_up = False

    def collect(self, key: CollectionKey) -> None:
        """Bring one invoice to its collector, from wherever it stands."""
        claim = self._claim(key)
        if claim is None:
            return
        one, was_parked = claim
        self.tried += 1
        try:
            self._advance(one, start_over=was_parked)
        except _TakenOver:
            log.info("the collecting of invoice %s is gone on with elsewhere", key[0])

    def follow(self, one: Collection) -> bool:
        """Look at one issued invoice; whether it has moved on."""
        answer = self._collectors[one.collector].find(_frozen(one), one.external_id)
        found = None if isinstance(answer, Trouble) or not answer else answer[0]
        self._count_failure(answer if isinstance(answer, Trouble) else None)
        with self._database.transaction() as connection:
            invoice = lock_invoice(connection, one.invoice_id)
            assert invoice is not None, "its ledger row refers to it"
            if found is None and not isinstance(answer, Trouble):
                sound_alarm(connection, invoice.id, f"{one.external_id} is not at {one.collector} any more")
            if found is None:
                look_again_at(connection, one.invoice_id, self._now + LOOK_AGAIN)
                return False
            if found.status == "draft":
                # A charge that was under way has failed, say: it takes another to have the money.
                return reopen_collection(connection, one.invoice_id)
            _compare(connection, one, found)
            self._note_payment(connection, one, invoice, found)
            settled = found.status in ("paid", "void")
            look_again_at(connection, one.invoice_id, None if settled else self._now + LOOK_AGAIN)
            return _move_on(connection, invoice, found, self._now)

    def _claim(self, key: CollectionKey) -> tuple[Collection, bool] | None:
        """Write down that the invoice is about to be sent, and in which words, before anything is done.

        The row, and whether it was parked.
        """
        with self._database.transaction() as connection:
            # The invoice before its ledger row, like everybody who locks both.
            invoice = lock_invoice(connection, key[0])
            one = claim_collection(connection, key, self._now, insist=self._insist)
            if one is None or invoice is None:
                return None
            if invoice.status != "draft" and one.collector != "stripe_items" and one.first_sent_at is None:
                self._drop(connection, one, f"our invoice is {invoice.status}")
                return None
            if invoice.total_amount == 0 and one.collector != "stripe_items" and one.first_sent_at is None:
                self._nothing_due(connection, one, invoice)
                return None
            claimed = self._claimed(self._with_demand(connection, one, invoice))
            save_collection(connection, claimed, claimed=claimed.attempts)
            return claimed, one.state == "parked"

    def _claimed(self, one: Collection) -> Collection:
        # A key that is not known any more is not sent again: what is there is read first, and this is no attempt yet.
        last_sent_at = one.last_sent_at if _is_too_old(one, self._now) else self._now
        return replace(
            one,
            state="sending",
            attempts=one.attempts + 1,
            first_sent_at=one.first_sent_at or self._now,
            last_sent_at=last_sent_at,
            next_attempt_at=self._now + LEASE,
        )

    def _with_demand(self, connection: Connection, one: Collection, invoice: Invoice) -> Collection:
        """The row with what is to be sent: frozen once sent, unless a person has mended what was refused."""
        if one.demand is not None and one.first_sent_at is not None and one.state != "parked":
            return one
        name, email = customer_there(connection, one)
        customer = name or ("" if one.demand is None else one.demand.customer)
        if one.collector == "stripe_items":
            assert one.demand is not None, "the close says which lines"
            return replace(one, demand=replace(one.demand, customer=customer, email=email))
        most_lines = self._collectors[one.collector].most_lines
        fresh = demand_for(connection, invoice, customer=customer, email=email, most_lines=most_lines)
        return replace(one, demand=fresh)

    def _advance(self, one: Collection, *, start_over: bool) -> None:
        """Look for what is there, then make, fill, compare and issue what is missing of it."""
        try:
            standing = self._at_hand(one, start_over=start_over)
            if standing is None:
                if self._may_still_show(one):
                    return self._put_off(one, "its last attempt may not show yet", wait=SETTLED_AFTER)
                one = self._again(one, start_over=start_over)
                standing = self._open(one)
            if standing.status == "draft":
                one = self._named(one, standing)
                standing = self._finish(one, standing)
            if standing is not None:
                self._issued(one, standing)
        except _InTheWay as error:
            self._record(one, error.trouble)
        return None

    def _at_hand(self, one: Collection, *, start_over: bool) -> Standing | None:
        """What is at the collector already: something final, else the oldest draft. Drafts beside it are thrown away.

        To start over every draft is, because a person has mended what it was refused for.
        """
        if one.attempts == 1:
            return None
        collector, demand = self._collectors[one.collector], _frozen(one)
        found = _got(collector.find(demand, one.external_id))
        if not found and one.external_id is not None:
            found = _got(collector.find(demand, None))
        final = [standing for standing in found if standing.status != "draft"]
        drafts = [standing for standing in found if standing.status == "draft"]
        kept = final[:1] or ([] if start_over and one.collector != "stripe_items" else drafts[:1])
        for draft in drafts:
            if draft not in kept:
                self._proceed(one)
                _done(collector.discard(draft, one.key))
        if len(final) > 1:
            self._alarm(one, f"{len(final)} invoices at {one.collector} carry its id")
        return kept[0] if kept else None

    def _may_still_show(self, one: Collection) -> bool:
        """Whether an earlier attempt could show itself yet, now that its key is not known any more."""
        assert one.last_sent_at is not None, "set when it was claimed"
        return _is_too_old(one, self._now) and self._now - one.last_sent_at <= SETTLED_AFTER

    def _again(self, one: Collection, *, start_over: bool) -> Collection:
        """The row as it goes on where nothing of it is at the collector: under another key, unless the same is as good."""
        too_old = _is_too_old(one, self._now)
        if one.external_id is None and not too_old and not start_over:
            return one
        anew = replace(one, external_id=None, key_attempt=one.key_attempt + 1)
        return self._save(replace(anew, first_sent_at=self._now, last_sent_at=self._now) if too_old else anew)

    def _open(self, one: Collection) -> Standing:
        self._proceed(one)
        return _got(self._collectors[one.collector].open(_frozen(one), one.key))

    def _named(self, one: Collection, draft: Standing) -> Collection:
        """The row with the collector's name for the draft, stored before anything is put on it."""
        if one.external_id == (draft.external_id or None):
            return one
        if _charge_failed(one, draft):
            with self._database.transaction() as connection:
                invoice = lock_invoice(connection, one.invoice_id)
                assert invoice is not None, "its ledger row refers to it"
                note_failed(connection, invoice, self._now, DECLINED)
        return self._save(replace(one, external_id=draft.external_id or None))

    def _finish(self, one: Collection, draft: Standing) -> Standing | None:
        """Fill a draft, compare it with ours, and issue it where they agree; None where they do not."""
        collector, demand = self._collectors[one.collector], _frozen(one)
        filled = _got(collector.fill(demand, draft, one.key, lambda: self._proceed(one)))
        if (filled.total, filled.currency) != (demand.total, demand.currency):
            _done(collector.discard(filled, one.key))
            theirs, ours = f"{filled.total} {filled.currency}", f"{demand.total} {demand.currency}"
            self._park(one, f"the draft at {one.collector} came to {theirs}, ours to {ours}")
            return None
        self._proceed(one)
        return _got(collector.issue(demand, filled, one.key))

    def _proceed(self, one: Collection) -> None:
        """Before each call that changes something: is it still this run's to make."""
        with self._database.transaction() as connection:
            if not is_still_mine(connection, one):
                raise _TakenOver

    def _issued(self, one: Collection, standing: Standing) -> None:
        settled = standing.status in ("paid", "void") or one.collector == "stripe_items"
        done = replace(
            one,
            state="issued",
            external_id=standing.external_id,
            issued_at=self._now,
            next_attempt_at=None if settled else self._now + LOOK_AGAIN,
            last_error=None,
        )
        with self._database.transaction() as connection:
            invoice = lock_invoice(connection, one.invoice_id)
            assert invoice is not None, "its ledger row refers to it"
            if save_collection(connection, done, claimed=one.attempts):
                self.issued += 1
                call_off_alarm(connection, one.invoice_id, _parked_note(one))
                if one.collector != "stripe_items":
                    _compare(connection, one, standing)
                    self._note_payment(connection, one, invoice, standing)
                    if one.collector == "stripe":
                        name_stripe_invoice(connection, one.invoice_id, standing.external_id)
                    _move_on(connection, invoice, standing, self._now)
        self._failures = 0

    def _note_payment(self, connection: Connection, one: Collection, invoice: Invoice, standing: Standing) -> None:
        """Stripe tells of failed payments itself; at Paystack they are seen."""
        if one.collector != "paystack":
            return
        if _charge_failed(one, standing):
            note_failed(connection, invoice, self._now, DECLINED)
        if standing.status == "open" and _is_overdue(one, self._now):
            note_failed(connection, invoice, self._now, OVERDUE)
        if standing.status in ("paid", "void"):
            note_made_good(connection, invoice, self._now)

    def _record(self, one: Collection, trouble: Trouble) -> None:
        self._count_failure(trouble)
        match trouble:
            case RateLimited(seconds):
                self._put_off(one, "too many calls at the moment", wait=wait_after(one.attempts, seconds))
            case Failed(status, replayed=True):
                # The answer is stuck to the key for a day. What it made, if anything, is found before the next attempt.
                other_key = replace(one, key_attempt=one.key_attempt + 1)
                self._put_off(other_key, f"HTTP {status}, from an earlier attempt", wait=timedelta(0))
            case Failed(status):
                self._put_off(one, f"HTTP {status}", wait=wait_after(one.attempts))
            case OutcomeUnknown(reason):
                self._put_off(one, f"no answer: {reason}", wait=wait_after(one.attempts))
            case Refused() if trouble.about_the_key:
                log.error("%s does not accept the API key: %s", one.collector, trouble.message)
                self._put_off(one, f"API key: {trouble.message}", wait=LONGEST_WAIT)
                self.gave_up = True
            case Refused():
                self._park(one, f"HTTP {trouble.status}: {trouble.message}")

    def _count_failure(self, trouble: Trouble | None) -> None:
        self._failures = self._failures + 1 if isinstance(trouble, OutcomeUnknown | Failed) else 0
        if isinstance(trouble, RateLimited) or self._failures >= _MOST_FAILURES_IN_A_ROW:
            self.gave_up = True

    def _put_off(self, one: Collection, reason: str, *, wait: timedelta) -> None:
        log.warning("the collecting of invoice %s is put off: %s", one.invoice_id, reason)
        self._save(replace(one, state="pending", next_attempt_at=self._now + wait, last_error=reason))

    def _park(self, one: Collection, reason: str) -> None:
        log.error("invoice %s cannot be collected: %s", one.invoice_id, reason)
        self._save(replace(one, state="parked", next_attempt_at=None, last_error=reason))
        self._alarm(one, _parked_note(one))

    def _alarm(self, one: Collection, reason: str) -> None:
        with self._database.transaction() as connection:
            sound_alarm(connection, one.invoice_id, reason)

    def _save(self, one: Collection) -> Collection:
        with self._database.transaction() as connection:
            if not save_collection(connection, one, claimed=one.attempts):
                raise _TakenOver
        return one

    def _nothing_due(self, connection: Connection, one: Collection, invoice: Invoice) -> None:
        """Nobody is asked for nothing: the invoice is settled as it stands."""
        if save_collection(connection, replace(one, state="nothing_due"), claimed=one.attempts):
            self.nothing_due += 1
            save_status(connection, invoice.id, "paid", self._now)
            note_moves(connection, [invoice], "paid", self._now, reason="nothing is due")

    def _drop(self, connection: Connection, one: Collection, reason: str) -> None:
        save_collection(connection, replace(one, state="nothing_due", last_error=reason), claimed=one.attempts)


def _got(answer: Answer | Trouble) -> Answer:
    if isinstance(answer, Trouble):
        raise _InTheWay(answer)
    return answer


def _done(trouble: Trouble | None) -> None:
    if trouble is not None:
        raise _InTheWay(trouble)


def _frozen(one: Collection) -> Demand:
    assert one.demand is not None, "frozen when it was claimed"
    return one.demand


def _is_too_old(one: Collection, now: datetime) -> bool:
    """Whether its first key may be forgotten: then nothing is sent on hope."""
    return one.first_sent_at is not None and now - one.first_sent_at > KEY_KNOWN_FOR


def _charge_failed(one: Collection, standing: Standing) -> bool:
    """Whether a charge was named first, and something else stands in its place."""
    return bool(one.external_id and read_charge_reference(one.external_id)) and one.external_id != standing.external_id


def _is_overdue(one: Collection, now: datetime) -> bool:
    days = None if one.demand is None else one.demand.days_until_due
    return days is not None and one.issued_at is not None and one.issued_at + timedelta(days=days) < now


def _parked_note(one: Collection) -> str:
    return f"it cannot be collected by {one.collector}, and waits for a person"


def _compare(connection: Connection, one: Collection, standing: Standing) -> None:
    """Note on the invoice where the collector's money is not ours."""
    demand = _frozen(one)
    if (standing.total, standing.currency) != (demand.total, demand.currency):
        theirs, ours = f"{standing.total} {standing.currency}", f"{demand.total} {demand.currency}"
        log.error("invoice %s is over %s at %s, ours over %s", one.invoice_id, theirs, one.collector, ours)
        sound_alarm(connection, one.invoice_id, f"{standing.external_id} is over {theirs}, ours over {ours}")


def _move_on(connection: Connection, invoice: Invoice, standing: Standing, now: datetime) -> bool:
    """Bring our invoice to where it stands at its collector, never backwards; whether it moved."""
    status = _STATUS[standing.status]
    if _RANK[status] <= _RANK[invoice.status]:
        return False
    save_status(connection, invoice.id, status, now)
    note_moves(connection, [invoice], status, now)
    return True
