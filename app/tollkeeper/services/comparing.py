"""Comparing: invoices that we price ourselves with what their collector, Stripe or Paystack, says of them. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from tollkeeper.payments.collector import Standing
from tollkeeper.payments.outcome import Trouble
from tollkeeper.services.collecting import Collectors
from tollkeeper.storage.collections import Collection
from tollkeeper.storage.invoices import Invoice


class Remarks(Protocol):
    """Where it is written down: what must not be, what is on its way, and what ours and the collectors' come to in all."""

    differences: list[str]
    notes: list[str]
    amount_to_collect: int
    amount_collected: int | None


def compare_ledger(row: Remarks, invoices: Sequence[Invoice], ledger: Mapping[UUID, Collection]) -> None:
    """What the ledger of collecting says by itself."""
    for invoice in invoices:
        one = ledger.get(invoice.id)
        row.amount_to_collect += _to_collect(invoice, one)
        if one is None and invoice.collect == "invoices" and invoice.status == "draft":
            row.notes.append(f"invoice {invoice.id} waits to be collected")
        elif one is not None and one.state == "parked":
            row.differences.append(f"invoice {invoice.id} cannot be collected by {one.collector}: {one.last_error}")
        elif one is not None and one.state in ("pending", "sending"):
            late = "late usage on " if one.collector == "stripe_items" else ""
            why = "" if one.last_error is None else f": {one.last_error}"
            row.notes.append(f"{late}invoice {invoice.id} is not with {one.collector} yet{why}")
        elif one is not None and one.state == "issued" and one.demand is not None and invoice.collect == "invoices":
            asked, ours = one.demand.total, invoice.total_amount
            if asked != ours:
                row.differences.append(f"{one.collector} was asked for {asked}, invoice {invoice.id} is over {ours}")


def _to_collect(invoice: Invoice, one: Collection | None) -> int:
    """What of an invoice is to be asked for: all of one that we priced, and what goes onto Stripe's own invoice as items."""
    if invoice.status == "void":
        return 0
    if invoice.collect == "invoices":
        return invoice.total_amount
    return one.demand.total if one is not None and one.demand is not None else 0


def compare_with_collectors(
    row: Remarks, invoices: Sequence[Invoice], ledger: Mapping[UUID, Collection], collectors: Collectors
) -> None:
    """What each collector says of the invoices that are out; those of a collector without a key are not asked for."""
    for invoice in invoices:
        one = ledger.get(invoice.id)
        if one is None or one.state != "issued" or one.demand is None or one.collector not in collectors:
            continue
        answer = collectors[one.collector].find(one.demand, one.external_id)
        if isinstance(answer, Trouble):
            row.differences.append(f"what {one.collector} says of invoice {invoice.id} is not known: {answer}")
        elif not answer:
            row.differences.append(f"{one.external_id} is not at {one.collector} any more")
        else:
            row.amount_collected = (row.amount_collected or 0) + answer[0].total
            _compare(row, invoice, one, answer[0])


def _compare(row: Remarks, invoice: Invoice, one: Collection, standing: Standing) -> None:
    assert one.demand is not None, "what is issued has one"
    if (standing.total, standing.currency) != (one.demand.total, one.demand.currency):
        theirs, ours = f"{standing.total} {standing.currency}", f"{one.demand.total} {one.demand.currency}"
        row.differences.append(f"{standing.external_id} is over {theirs} at {one.collector}, ours over {ours}")
    if one.collector == "stripe_items":
        return
    if standing.status == "paid" and invoice.status != "paid":
        row.notes.append(f"{standing.external_id} is paid at {one.collector}, and {invoice.status} here")
    if invoice.status == "paid" and standing.status != "paid":
        row.differences.append(f"invoice {invoice.id} is paid here, and {standing.status} at {one.collector}")


def compare_items(row: Remarks, items: Sequence[Collection], collectors: Collectors) -> None:
    """Items for reports that missed Stripe's own invoice: how far they are, and what Stripe says of them."""
    for one in items:
        total = 0 if one.demand is None else one.demand.total
        row.amount_to_collect += total
        if one.state == "parked":
            row.differences.append(f"items over {total} cannot be put on Stripe's next invoice: {one.last_error}")
        elif one.state != "issued":
            row.notes.append(f"items over {total} are not with Stripe yet")
        elif one.collector in collectors and one.demand is not None:
            answer = collectors[one.collector].find(one.demand, one.external_id)
            there = answer if isinstance(answer, Trouble) else sum(standing.total for standing in answer)
            if isinstance(there, int):
                row.amount_collected = (row.amount_collected or 0) + there
            if there != total:
                row.differences.append(f"items over {total} are at Stripe as {there}")
