"""Demanding: from an invoice of ours to what a collector is told to collect."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from tollkeeper.domain.currency import minor_step
from tollkeeper.domain.demand import Demand, DemandLine, fold
from tollkeeper.domain.plan import Plan
from tollkeeper.storage.invoices import Invoice, InvoiceLine, lines_of
from tollkeeper.storage.plans import load_plan


def demand_for(
    connection: Connection, invoice: Invoice, *, customer: str, email: str | None, most_lines: int
) -> Demand:
    """What is to be collected for an invoice, by the terms that its plan has now."""
    plan = load_plan(connection, invoice.plan_id, invoice.plan_version)
    lines = demand_lines(lines_of(connection, invoice.id))
    return demand_of(invoice, fold(lines, most_lines), plan, customer=customer, email=email)


def demand_of(
    invoice: Invoice, lines: Sequence[DemandLine], plan: Plan | None, *, customer: str = "", email: str | None = None
) -> Demand:
    """A demand over some lines of an invoice; without a plan it is neither split nor sent."""
    total = sum(line.amount for line in lines)
    split = None if plan is None else plan.split
    return Demand(
        invoice_id=invoice.id,
        user_id=invoice.user_id,
        customer=customer,
        email=email,
        currency=invoice.currency,
        period=invoice.period,
        drafted_at=invoice.created_at,
        lines=tuple(lines),
        days_until_due=None if plan is None else plan.days_until_due,
        shares=() if split is None else split.shares(total, minor_step(invoice.currency)),
    )


def demand_lines(lines: Sequence[InvoiceLine]) -> list[DemandLine]:
    """An invoice's lines as a collector gets them, named by their position."""
    return [
        DemandLine(str(position), line.amount, line.description, line.period) for position, line in enumerate(lines, 1)
    ]
