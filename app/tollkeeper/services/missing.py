"""Missing: reports that Stripe's own invoice went out without. An invoice item has their money then.

Stripe prices a period when it finalizes its invoice; a meter event that comes later is counted and billed to nobody. So once
that invoice is final, what was not told goes onto the next one as an item, and no event is sent. The item is what all of the
period comes to, less what Stripe has priced, by the same tariff.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from tollkeeper.domain.demand import DemandLine
from tollkeeper.domain.proration import for_part
from tollkeeper.payments.outcome import Refused, Trouble, Unanswered
from tollkeeper.services.demanding import demand_of
from tollkeeper.services.drafting import STRIPE_TAKES_LATE
from tollkeeper.services.invoicing import LateUsage, late_lines, usage_lines
from tollkeeper.storage.collections import Collection, insert_collections, items_of
from tollkeeper.storage.invoices import load_invoice
from tollkeeper.storage.periods import stored_period
from tollkeeper.storage.plans import load_tariff
from tollkeeper.storage.reports import Candidate, Report, mark_missed
from tollkeeper.storage.totals import Sums

if TYPE_CHECKING:
    from tollkeeper.payments.stripe import StripePayments

METERS_TAKE = timedelta(days=34)
"""Stripe takes events that are 35 days old at most; a day is left for clocks and calls that are put off."""


class OwnInvoices:
    """Whether Stripe's own invoice of a customer's period is final; asked once each."""

    def __init__(self, stripe: StripePayments) -> None:
        self._stripe = stripe
        self._final: dict[tuple[str, datetime], bool | Trouble] = {}

    def miss(self, candidate: Candidate, now: datetime) -> bool | Unanswered:
        """Whether a report comes too late for it, or for any meter; the trouble where Stripe does not tell for now.

        A key that may not read invoices is no reason to hold usage back: then reports are sent as if there were none.
        """
        if not candidate.closed or now <= candidate.period_end + STRIPE_TAKES_LATE:
            return False
        if now - (candidate.period_end - timedelta(seconds=1)) > METERS_TAKE:
            return True
        key = (candidate.customer, candidate.period_end)
        if key not in self._final:
            self._final[key] = self._stripe.has_final_invoice(customer=key[0], period_end=key[1])
        final = self._final[key]
        return False if isinstance(final, Refused) else final


def restamped(report: Report, now: datetime) -> Report:
    """A report whose stamp is too old for meters and that was never sent, with the newest stamp that its period allows."""
    if report.first_sent_at is not None or now - report.timestamp <= METERS_TAKE:
        return report
    newest = min(report.period.last_second, now - timedelta(seconds=1)).replace(microsecond=0)
    return replace(report, timestamp=max(newest, report.timestamp))


def settle_by_item(connection: Connection, missed: Sequence[Report], rows: Iterable[Report], now: datetime) -> None:
    """Settle locked reports of one period by items on Stripe's next invoice; `rows` are all reports of that period."""
    first, rows = missed[0], list(rows)
    assert first.invoice_id is not None, "a period that is open can miss nothing"
    invoice = load_invoice(connection, first.invoice_id)
    before = items_of(connection, [invoice.id])
    number = 1 + max((one.part for one in before), default=0)
    owed = list(_lines(connection, missed, rows))
    # All that was missed is worked out together each time: what Stripe had taken then may not have been counted since.
    asked = sum(line.amount for one in before if one.demand for line in one.demand.lines if line.period == first.period)
    if asked:
        owed.append(DemandLine("", -asked, "Less what was asked for it before", first.period))
    mark_missed(connection, [report.id for report in missed])
    if sum(line.amount for line in owed):
        lines = [replace(line, id=f"missed:{number}:{n}") for n, line in enumerate(owed, 1)]
        items = Collection(
            invoice_id=invoice.id,
            part=number,
            user_id=invoice.user_id,
            collector="stripe_items",
            demand=demand_of(replace(invoice, created_at=now), lines, None),
            created_at=now,
        )
        insert_collections(connection, [items])


def _lines(connection: Connection, missed: Sequence[Report], rows: Sequence[Report]) -> Iterator[DemandLine]:
    """What all that was missed of the period is worth, beyond what Stripe has priced."""
    first = missed[0]
    stored = stored_period(connection, first.user_id, first.period.start)
    assert stored is not None, "its reports refer to it"
    part = next((one for one in stored.parts if one.period.start == first.period.start), stored)
    tariff = for_part(load_tariff(connection, part.plan_id, part.plan_version), part.share)
    priced = _added_up(row for row in rows if row.state in ("acknowledged", "confirmed"))
    owed = Sums(priced)
    owed.add(_added_up([*missed, *(row for row in rows if row.state == "missed")]))
    late = LateUsage(stored, replace(part, totals=owed), tariff, usage_lines(priced, part.period, tariff))
    for line in late_lines(late):
        if line.amount:
            yield DemandLine("", line.amount, line.description, line.period)


def _added_up(rows: Iterable[Report]) -> Sums:
    sums = Sums()
    for row in rows:
        sums.add({(row.model_id, row.token_type): int(row.value)})
    return sums
