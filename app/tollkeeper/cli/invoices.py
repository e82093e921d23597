"""`tollkeeper invoices`: what periods come to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from tollkeeper.cli.corrections import CORRECTIONS, invoice_uuid
from tollkeeper.cli.edge import runtime
from tollkeeper.cli.instant import INSTANT
from tollkeeper.cli.printing import instant, number, print_json, print_table, working
from tollkeeper.domain.errors import SettingMissing

if TYPE_CHECKING:
    from tollkeeper.domain.period import Period
    from tollkeeper.services.explaining import ExplainedLine
    from tollkeeper.storage.invoices import Invoice, InvoiceLine


@click.group()
def invoices() -> None:
    """Draft, list, show and correct invoices."""


for one in CORRECTIONS:
    invoices.add_command(one)


@invoices.command()
@click.option("--as-of", type=INSTANT, help="Close what ended at or before this instant; now if left out.")
def draft(as_of: datetime | None) -> None:
    """Close every period that is over and draft its invoice. Sends nothing to anyone.

    Usage that is stored by now counts, whenever it was recorded. Exit status 1 if a period was parked for a person to look at.
    """
    from tollkeeper.services.closing import close_due

    here = runtime()
    now = here.clock.now()
    with working("Closing periods"):
        done = close_due(
            here.database, now=now, as_of=as_of or now, collect=here.settings.collect, sanity=here.settings.sanity
        )
    click.echo(f"closed {done.closed} drafted {done.invoices} closed before {done.already} parked {done.parked}")
    if done.parked:
        click.echo("Parked periods are billed once somebody has looked; see: tollkeeper invoices parked", err=True)
        click.get_current_context().exit(1)


@invoices.command()
@click.option("--as-of", type=INSTANT, help="Only periods that ended at or before this instant; now if left out.")
def collect(as_of: datetime | None) -> None:
    """Have drafts of plans with collect = "invoices" collected by Stripe or Paystack.

    Can be repeated at any time: each invoice is collected once. Exit status 1 while any is not with its collector.
    """
    from tollkeeper.services.collecting import collect_owed

    here = runtime()
    if not here.collectors:
        raise SettingMissing("STRIPE_API_KEY or PAYSTACK_SECRET_KEY", "to have invoices collected")
    with working("Collecting"):
        done = collect_owed(
            here.database, here.collectors, now=here.clock.now(), as_of=as_of, insist=True, limit=10_000
        )
    click.echo(f"issued {done.issued} nothing due {done.nothing_due} pending {done.pending} parked {done.parked}")
    if done.uncollected:
        click.get_current_context().exit(1)


@invoices.command("list")
@click.option("--user", "user_id", metavar="USER_ID", help="Only this customer's.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_invoices(user_id: str | None, as_json: bool) -> None:
    """List invoices, the newest period first."""
    from tollkeeper.services.invoicing import all_invoices

    found = all_invoices(runtime().database, user_id)
    if as_json:
        print_json([_document(invoice) for invoice in found])
    else:
        header = ("invoice", "customer", "period", "status", "total")
        print_table(header, [_row(invoice) for invoice in found], right=frozenset({4}))


@invoices.command()
@click.argument("invoice_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(invoice_id: str, as_json: bool) -> None:
    """Show an invoice with its lines."""
    from tollkeeper.services.invoicing import invoice_with_lines

    invoice, lines = invoice_with_lines(runtime().database, invoice_uuid(invoice_id))
    if as_json:
        print_json({**_document(invoice), "lines": _line_documents(lines)})
        return
    click.echo(f"invoice   {invoice.id}, {invoice.status}")
    click.echo(f"customer  {invoice.user_id}, on plan {invoice.plan_id} version {invoice.plan_version}")
    click.echo(f"period    {_span(invoice.period)}")
    if invoice.stripe_invoice_id is not None:
        click.echo(f"Stripe    {invoice.stripe_invoice_id}")
    if invoice.void_reason is not None:
        click.echo(f"void      {invoice.void_reason}")
    if invoice.alarm is not None:
        click.echo(f"alarm     {invoice.alarm}")
    _print_lines(lines, invoice.total_amount, invoice.currency)


@invoices.command()
@click.argument("user_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def preview(user_id: str, as_json: bool) -> None:
    """Show what a customer's invoice would say if the period of now were closed now, and where usage is heading."""
    from tollkeeper.domain.currency import display
    from tollkeeper.services import previewing

    here = runtime()
    found = previewing.preview(here.database, user_id, at=here.clock.now(), collect=here.settings.collect)
    if as_json:
        print_json(
            {
                "user_id": found.user_id,
                "period_start": found.period.start,
                "period_end": found.period.end,
                "plan_id": found.plan_id,
                "plan_version": found.plan_version,
                "currency": found.currency,
                "total_amount": found.total_amount,
                "usage_amount": found.usage_amount,
                "projected_usage_amount": found.projected_usage_amount,
                "alarm": found.alarm,
                "lines": _line_documents(found.lines),
            }
        )
        return
    click.echo(f"customer  {found.user_id}, on plan {found.plan_id} version {found.plan_version}")
    click.echo(f"period    {_span(found.period)}, not closed")
    if found.alarm is not None:
        click.echo(f"alarm     {found.alarm}")
    _print_lines(found.lines, found.total_amount, found.currency)
    click.echo()
    click.echo(f"usage so far                       {display(found.usage_amount, found.currency)}")
    click.echo(f"at this rate, by the period's end  {display(found.projected_usage_amount, found.currency)}")


@invoices.command()
@click.argument("invoice_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def explain(invoice_id: str, as_json: bool) -> None:
    """Show how each line of an invoice came about, and the statement that lists its events."""
    from tollkeeper.services import explaining

    found = explaining.explain(runtime().database, invoice_uuid(invoice_id))
    if as_json:
        lines = _line_documents([one.line for one in found.lines])
        print_json(
            {
                **_document(found.invoice),
                "lines": [{**line, **_why(one)} for line, one in zip(lines, found.lines, strict=True)],
            }
        )
        return
    click.echo(f"invoice   {found.invoice.id}, {found.invoice.status}")
    for one in found.lines:
        click.echo()
        click.echo(f"{one.position}. {one.line.kind}: {one.line.description}")
        click.echo(f"   {one.arithmetic}")
        tier = f", tier {one.tier}" if one.tier is not None else ""
        click.echo(f"   plan {one.plan_id} version {one.plan_version}{tier}, period {_span(one.line.period)}")
        if one.events_sql is not None:
            click.echo(f"   {one.events_sql}")


def _why(one: ExplainedLine) -> dict[str, Any]:
    return {
        "plan_id": one.plan_id,
        "plan_version": one.plan_version,
        "tier": one.tier,
        "arithmetic": one.arithmetic,
        "events_sql": one.events_sql,
    }


def _span(period: Period) -> str:
    return f"{instant(period.start)} to {instant(period.end)}"


def _row(invoice: Invoice) -> tuple[str, ...]:
    from tollkeeper.domain.currency import display

    total = display(invoice.total_amount, invoice.currency)
    return str(invoice.id), invoice.user_id, _span(invoice.period), invoice.status, total


def _print_lines(lines: Sequence[InvoiceLine], total: int, currency: str) -> None:
    from tollkeeper.domain.currency import display

    rows = [(line.kind, line.description, number(line.quantity), display(line.amount, currency)) for line in lines]
    click.echo()
    print_table(
        ("kind", "description", "quantity", "amount"),
        [*rows, ("", "total", "", display(total, currency))],
        right=frozenset({2, 3}),
    )


def _document(invoice: Invoice) -> dict[str, Any]:
    from tollkeeper.services.documenting import invoice_document

    return {**invoice_document(invoice), "void_reason": invoice.void_reason}


def _line_documents(lines: Sequence[InvoiceLine]) -> list[dict[str, Any]]:
    from tollkeeper.services.documenting import line_documents

    return line_documents(lines)
