"""Drafting: decide what closing some periods would bill, carry forward and owe Stripe. Stores nothing.

The close stores what comes out, a preview throws it away: so a preview says what the close would draft at that moment.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.domain.currency import display
from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.domain.pricing import Tariff
from tollkeeper.domain.sanity import NO_BOUND, SanityBound
from tollkeeper.domain.usage import Key
from tollkeeper.services.invoicing import Draft, LateUsage, draft_invoice
from tollkeeper.services.owing import overtold, reports_owed, untold
from tollkeeper.services.standing import Standing, standings
from tollkeeper.storage.credits import Entry
from tollkeeper.storage.event_sums import Counted, count_events
from tollkeeper.storage.invoices import Collect, usage_lines_of
from tollkeeper.storage.periods import PeriodKey, StoredPeriod
from tollkeeper.storage.plans import load_tariff
from tollkeeper.storage.reports import Report, reports_of

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    """What is to be written."""

    closed: list[PeriodKey] = field(default_factory=list)
    billed_late: list[PeriodKey] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
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
        self, connection: Connection, periods: Sequence[StoredPeriod], *, rebilled: Collection[PeriodKey] = ()
    ) -> Outcome:
        """What closing these periods comes to; those that are closed already are looked at for late usage.

        Each customer's periods must be oldest first, and nobody may change them meanwhile. The late usage of `rebilled` ones
        stood on an invoice that is void now.
        """
        doubtful = [one for one in periods if self.proven.get(one.key) != one.version] if self._proving else []
        counted = count_events(connection, doubtful)
        late = self._late_usage(connection, [one for one in periods if one.is_late or one.key in rebilled], counted)
        customers = standings(connection, sorted({stored.user_id for stored in periods}))
        outcome = Outcome()
        for stored in periods:
            if stored.billed_totals is not None:
                continue
            difference = _difference(counted, stored)
            if difference is None:
                difference = self._close_one(connection, stored, late, customers[stored.user_id], outcome)
            if difference is not None:
                log.error("period %s of customer %r is parked: %s", stored.period.start, stored.user_id, difference)
                outcome.parked[stored.key] = difference
        outcome.credits = [entry for customer in customers.values() for entry in customer.purse.entries]
        return outcome

    def collects(self, stored: StoredPeriod) -> Collect:
        """How the period is collected."""
        return stored.collect or self._collect

    def tariff(self, connection: Connection, stored: StoredPeriod) -> Tariff:
        """What the period is priced by."""
        key = (stored.plan_id, stored.plan_version)
        if key not in self._tariffs:
            self._tariffs[key] = load_tariff(connection, *key)
        tariff = self._tariffs[key]
        gone = stored.left_at is not None and stored.period.start >= stored.left_at
        return replace(tariff, base_fee=0) if gone else tariff

    def _close_one(
        self,
        connection: Connection,
        stored: StoredPeriod,
        late: list[LateUsage],
        customer: Standing,
        outcome: Outcome,
    ) -> str | None:
        """Decide on one period whose totals are proven; the reason why it cannot be billed, if there is one."""
        taken = [one for one in late if _belongs_on(one, stored)]
        credit, purse = customer.carried.get(stored.currency, 0), customer.purse.copy()
        try:
            tariff = self.tariff(connection, stored)
            draft = draft_invoice(
                stored,
                tariff,
                taken,
                credit,
                purse,
                collect=self._collect,
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
            outcome.billed_late.append(one.stored.key)
        outcome.closed.append(stored.key)
        if draft is not None:
            outcome.drafts.append(self._with_alarm(connection, draft, taken))
            if draft.invoice.collect == "meters":
                told = reports_of(connection, [stored.key])[stored.key] if stored.revision > 1 else []
                outcome.reports += reports_owed(stored, tariff, told, invoice_id=draft.invoice.id, now=self._now)
        return None

    def _objection(self, stored: StoredPeriod, draft: Draft, customer: Standing) -> str | None:
        """Why a person should look at the amount first; None once somebody did."""
        if stored.released_at is not None:
            return None
        return self._sanity.objection(draft.charges, customer.charges.get(stored.currency, []), stored.currency)

    def _with_alarm(self, connection: Connection, draft: Draft, late: Sequence[LateUsage]) -> Draft:
        """Say on the invoice which late usage has missed Stripe's own: it has to be collected there by an item."""
        told = reports_of(connection, [one.stored.key for one in late]) if late else {}
        missed = [
            f"{value} {model} {meter} of {one.stored.period.start:%Y-%m-%d}"
            for one in late
            if self.collects(one.stored) == "meters"
            for (model, meter), value in _misfit(one, told[one.stored.key]).items()
        ]
        alarms = [] if draft.invoice.alarm is None else [draft.invoice.alarm]
        if missed:
            alarms.append(f"late for Stripe's own invoice, needs an invoice item there: {', '.join(missed)}")
        adjusted = sum(line.amount for line in draft.lines if line.adjustment_id is not None)
        if adjusted and draft.invoice.collect == "meters":
            shown = display(adjusted, draft.invoice.currency)
            alarms.append(f"adjusted by hand, needs an invoice item at Stripe: {shown}")
        return replace(draft, invoice=replace(draft.invoice, alarm="; ".join(alarms) or None))

    def _late_usage(
        self, connection: Connection, periods: Sequence[StoredPeriod], counted: Mapping[PeriodKey, Counted]
    ) -> list[LateUsage]:
        """What came late to closed periods, where their events prove it."""
        billed = usage_lines_of(connection, [stored.key for stored in periods])
        late = []
        for stored in periods:
            difference = _difference(counted, stored)
            if difference is None:
                late.append(LateUsage(stored, self.tariff(connection, stored), billed[stored.key]))
            else:
                log.error(
                    "late usage of period %s of customer %r is not billed: %s",
                    stored.period.start,
                    stored.user_id,
                    difference,
                )
        return late


def _misfit(late: LateUsage, told: Sequence[Report]) -> dict[Key, int]:
    """What Stripe was not told, and below zero what it was told and has been taken back."""
    over = overtold(late.stored.totals, late.tariff, told)
    return untold(late.stored.totals, late.tariff, told) | {key: -value for key, value in over.items()}


def _difference(counted: Mapping[PeriodKey, Counted], stored: StoredPeriod) -> str | None:
    """What the events of a period say that its row does not; None where they agree, or were not counted."""
    return counted[stored.key].difference_from(stored) if stored.key in counted else None


def _belongs_on(late: LateUsage, stored: StoredPeriod) -> bool:
    """Whether late usage is billed on this period's invoice: the same customer's, later, and in the same currency."""
    return (
        late.stored.user_id == stored.user_id
        and late.stored.period.end <= stored.period.start
        and late.stored.currency == stored.currency
    )
