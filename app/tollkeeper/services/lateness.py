"""Lateness: what usage comes to that missed Stripe's own invoice, as items for the next one.

Stripe has priced what it was told of a period. What is owed now, less what that was worth by the same tariff, is what is still
to be charged there, or to be given back. An item says so in money: a report would not be looked at any more. What a person
adjusted by hand goes the same way, because no meter knows of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tollkeeper.domain.demand import DemandLine
from tollkeeper.domain.money import round_half_away
from tollkeeper.domain.usage import Totals
from tollkeeper.services.demanding import demand_lines, demand_of
from tollkeeper.services.invoicing import Draft, LateUsage, late_lines, usage_lines
from tollkeeper.storage.collections import Collection
from tollkeeper.storage.periods import PeriodKey
from tollkeeper.storage.reports import Report
from tollkeeper.storage.totals import Sums


def late_items(
    draft: Draft, late: Sequence[LateUsage], told: Mapping[PeriodKey, Sequence[Report]]
) -> Collection | None:
    """What is to be put on Stripe's next invoice for late usage and adjustments on ours; None where that is nothing."""
    invoice = draft.invoice
    adjusted = demand_lines([line for line in draft.lines if line.adjustment_id is not None])
    lines = [*(line for one in late for line in _lines(one, told[one.stored.key])), *adjusted]
    if not lines:
        return None
    numbered = [replace(line, id=str(position)) for position, line in enumerate(lines, 1)]
    return Collection(
        invoice_id=invoice.id,
        user_id=invoice.user_id,
        collector="stripe_items",
        demand=demand_of(invoice, numbered, None),
        created_at=invoice.created_at,
    )


def _lines(one: LateUsage, told: Sequence[Report]) -> Iterator[DemandLine]:
    stored = one.stored
    # Once late usage was billed, items have brought Stripe to where our invoices are. What was never told, because its period
    # was collected in another way, is charged as it is billed, too.
    as_billed = not told or any(line.kind == "late_usage" for line in one.billed)
    priced = one.billed if as_billed else usage_lines(_quantities(one, told), stored.period, one.tariff)
    for line in late_lines(replace(one, billed=priced)):
        if line.amount:
            yield DemandLine("", line.amount, line.description, line.period)


def _quantities(one: LateUsage, told: Sequence[Report]) -> Totals:
    """What Stripe was told; a fraction that was rounded when it was told is no lateness."""
    sums = Sums()
    for report in told:
        sums.add({(report.model_id, report.token_type): int(report.value)})
    for key, quantity in one.stored.totals.items():
        if round_half_away(quantity) == sums.get(key, 0):
            sums[key] = quantity
    return sums
