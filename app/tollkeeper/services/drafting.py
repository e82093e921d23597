"""Drafting: decide what closing some periods would bill, carry forward and owe Stripe. Stores nothing.

The close stores what comes out, a preview throws it away: so a preview says what the close would draft at that moment.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.domain.pricing import Tariff
from tollkeeper.domain.proration import for_part
from tollkeeper.domain.sanity import NO_BOUND, SanityBound
from tollkeeper.services.invoicing import Draft, LateUsage, draft_invoice
from tollkeeper.services.lateness import late_items
from tollkeeper.services.owing import reports_owed
from tollkeeper.services.standing import Standing, standings
from tollkeeper.storage.collections import Collection
from tollkeeper.storage.credits import Entry
from tollkeeper.storage.event_sums import Counted, count_events, difference
from tollkeeper.storage.invoices import Collect, usage_lines_of
from tollkeeper.storage.periods import PeriodKey, StoredPeriod
from tollkeeper.storage.plans import load_tariff
from tollkeeper.storage.reports import Report, reports_of

log = logging.getLogger(__name__)

STRIPE_TAKES_LATE = timedelta(minutes=50)
"""Stripe finalizes its own invoice an hour after the period's end unless told otherwise; ten minutes are left to report."""


@dataclass(slots=True)
class Outcome:
    """What is to be written."""

    closed: list[PeriodKey] = field(default_factory=list)
    billed_late: list[PeriodKey] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    collections: list[Collection] = field(default_factory=list)
    parked: dict[PeriodKey, str] = field(default_factory=dict)
    credits: list[Entry] = field(default_factory=list)


class Drafting:
    """Decides on periods as of one instant; tariffs are read once. `collect` is for plans that do not say.

    With `proving` false the running totals are taken at their word and no event is read: for what is looked at often and
    billed never.
    """

    def __init__(
        self, collect: Collect, now: datetime, sanity: SanityBound = NO_BOUND, *, proving: bool = True
    ) -> None:
        self._sanity = sanity
        self._collect = collect
        self._now = now
        self._proving = proving
        self._tariffs: dict[tuple[str, int], Tariff] = {}
        self.proven: Mapping[PeriodKey, int] = {}
        """Versions of periods whose totals are known to be what their events add up to."""

    def decide(
        self, connection: Connection, periods: Sequence[StoredPeriod], *, rebilled: Container[PeriodKey] = ()
    ) -> Outcome:
        """What closing these periods comes to; those that are closed already are looked at for late usage.

        Each customer's periods must be oldest first, and nobody may change them meanwhile. The late usage of `rebilled` ones
        stood on an invoice that is void now.
        """
        doubtful = [one for one in periods if self.proven.get(one.key) != one.version] if self._proving else []
        counted = count_events(connection, doubtful)
        late = self._late_usage(connection, [one for one in periods if one.is_late or one.key in rebilled], counted)
        customers = standings(connection, sorted({stored.user_id for stored in periods}))
        told = reports_of(connection, [part.key for stored in periods for part in stored.parts])
        outcome = Outcome()
        for stored in periods:
            if stored.billed_totals is not None:
                continue
            if any(told[part.key] for part in stored.parts):
                stored = _metered(stored)
            reason = difference(stored, counted) if stored.key in counted else None
            if reason is None:
                reason = self._close_one(connection, stored, late, customers[stored.user_id], told, outcome)
            if reason is not None:
                log.error("period %s of customer %r is parked: %s", stored.period.start, stored.user_id, reason)
                outcome.parked[stored.key] = reason
        outcome.credits = [entry for customer in customers.values() for entry in customer.purse.entries]
        return outcome

    def tariff(self, connection: Connection, stored: StoredPeriod) -> Tariff:
        """What the period, or a part of one, is priced by."""
        key = (stored.plan_id, stored.plan_version)
        if key not in self._tariffs:
            self._tariffs[key] = load_tariff(connection, *key)
        tariff = for_part(self._tariffs[key], stored.share)
        gone = stored.left_at is not None and stored.period.start >= stored.left_at
        return replace(tariff, base_fee=0) if gone else tariff

    def _close_one(
        self,
        connection: Connection,
        stored: StoredPeriod,
        late: list[LateUsage],
        customer: Standing,
        told: Mapping[PeriodKey, Sequence[Report]],
        outcome: Outcome,
    ) -> str | None:
        """Decide on one period whose totals are proven; the reason why it cannot be billed, if there is one."""
        taken = [one for one in late if _belongs_on(one, stored)]
        credit, purse = customer.carried.get(stored.currency, 0), customer.purse.copy()
        collect = stored.collected_parts[-1].collect or self._collect
        try:
            draft = draft_invoice(
                stored,
                [(part, self.tariff(connection, part)) for part in stored.parts],
                taken,
                credit,
                purse,
                collect=collect,
                now=self._now,
                adjustments=[one for one in customer.adjustments if one.currency == stored.currency],
            )
        except TollkeeperError as error:
            return str(error)
        if draft is not None:
            objection = self._objection(stored, draft, customer)
            if objection is not None:
                return objection
            invoice = draft.invoice
            customer.billed(stored.currency, charges=draft.charges, carried=invoice.carried, purse=purse)
        for one in taken:
            late.remove(one)
            outcome.billed_late.append(one.row.key)
        outcome.closed.append(stored.key)
        if draft is not None:
            outcome.drafts.append(draft)
        if collect == "meters":
            for part in stored.collected_parts:
                outcome.reports += reports_owed(
                    part,
                    self.tariff(connection, part),
                    told[part.key],
                    invoice_id=None if draft is None else draft.invoice.id,
                    now=self._now,
                )
            if draft is not None:
                self._tell_late(draft, taken, told, outcome, gone=stored.left_at is not None)
        return None

    def _tell_late(
        self,
        draft: Draft,
        late: Sequence[LateUsage],
        told: Mapping[PeriodKey, Sequence[Report]],
        outcome: Outcome,
        *,
        gone: bool,
    ) -> None:
        """Have late usage on Stripe's invoices too: on that of its own period, or as an item on the next one.

        What was adjusted by hand goes there as an item, too.
        """
        missed = []
        for one in late:
            if one.row.period.end > self._now - STRIPE_TAKES_LATE and told[one.stored.key]:
                outcome.reports += reports_owed(
                    one.stored, one.tariff, told[one.stored.key], invoice_id=draft.invoice.id, now=self._now
                )
            else:
                missed.append(one)
        items = late_items(draft, missed, told)
        if items is not None:
            outcome.collections.append(items)
            if gone:
                outcome.drafts[-1] = draft.with_alarm("the customer has left: invoice at Stripe what waits there")

    def _objection(self, stored: StoredPeriod, draft: Draft, customer: Standing) -> str | None:
        """Why a person should look at the amount first; None once somebody did."""
        if stored.released_at is not None:
            return None
        return self._sanity.objection(draft.charges, customer.charges.get(stored.currency, []), stored.currency)

    def _late_usage(
        self, connection: Connection, periods: Sequence[StoredPeriod], counted: Mapping[PeriodKey, Counted]
    ) -> list[LateUsage]:
        """What came late to closed periods, where their events prove it."""
        billed = usage_lines_of(connection, [part.key for stored in periods for part in stored.parts])
        late: list[LateUsage] = []
        for stored in periods:
            reason = difference(stored, counted) if stored.key in counted else None
            if reason is None:
                late += [
                    LateUsage(stored, part, self.tariff(connection, part), billed[part.key]) for part in stored.parts
                ]
            else:
                log.error(
                    "late usage of period %s of customer %r is not billed: %s",
                    stored.period.start,
                    stored.user_id,
                    reason,
                )
        return late


def _metered(stored: StoredPeriod) -> StoredPeriod:
    """The period as Stripe prices it, whatever its plans say by now: it has heard of it already."""
    parts = [part if part.collect == "off" else replace(part, collect="meters") for part in stored.plan_parts]
    return replace(stored, collect="meters", plan_parts=tuple(parts))


def _belongs_on(late: LateUsage, stored: StoredPeriod) -> bool:
    """Whether late usage is billed on this period's invoice: the same customer's, later, and in the same currency."""
    return (
        late.stored.user_id == stored.user_id
        and late.stored.period.end <= stored.period.start
        and late.stored.currency == stored.currency
    )
