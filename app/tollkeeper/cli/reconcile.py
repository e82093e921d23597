"""`tollkeeper reconcile`: does everything agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.printing import exact, instant, number, print_json, print_table, working

if TYPE_CHECKING:
    from tollkeeper.services.reconciled import ReconciledPeriod
    from tollkeeper.storage.collections import Collection
    from tollkeeper.storage.reports import Report


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def reconcile(as_json: bool) -> None:
    """Compare events, totals, invoice lines, Stripe and Paystack. Changes nothing; exit status 1 on any difference.

    Without STRIPE_API_KEY and PAYSTACK_SECRET_KEY everything but what these two say is compared.
    """
    from tollkeeper.services import reconciling

    here = runtime()
    with working("Comparing"):
        found = reconciling.reconcile(here.database, here.stripe, now=here.clock.now(), collectors=here.collectors)
    if as_json:
        print_json(
            {
                "ok": found.ok,
                "periods": [_document(row) for row in found.rows],
                "strays": found.strays,
                "unpriced": found.unpriced,
            }
        )
    else:
        _print_periods(found.rows)
        for user_id, events in found.strays.items():
            click.echo(f"{user_id}: {number(events)} events lie in no period")
        if found.unpriced.events:
            counts = f"{number(found.unpriced.events)} events of {number(found.unpriced.customers)} customers"
            click.echo(f"NO PRICE {counts}: billed by nobody until they have one; see: tollkeeper usage unpriced")
        click.echo("Everything agrees." if found.ok else "There are differences.")
    if not found.ok:
        click.get_current_context().exit(1)


def _print_periods(rows: tuple[ReconciledPeriod, ...]) -> None:
    header: tuple[str, ...] = (
        "customer",
        "period",
        "status",
        "events",
        "totals",
        "billed",
        "late",
        "reported",
        "at Stripe",
    )
    collected = any(row.collections for row in rows)
    header = (*header, *(("to collect", "collected") if collected else ()), "")
    right = frozenset(range(3, len(header) - 1))
    print_table(header, [_row(row, collected=collected) for row in rows], right=right)
    click.echo()
    for row in rows:
        for remark in (*(f"DIFFERENCE {difference}" for difference in row.differences), *row.notes):
            click.echo(f"{row.user_id} {instant(row.period.start)}: {remark}")


def _row(row: ReconciledPeriod, *, collected: bool) -> tuple[str, ...]:
    return (
        row.user_id,
        f"{instant(row.period.start)} to {instant(row.period.end)}",
        row.status,
        number(row.tokens_in_events),
        number(row.tokens_in_totals),
        number(row.tokens_billed),
        number(row.tokens_late),
        number(row.tokens_reported),
        "-" if row.tokens_at_stripe is None else number(row.tokens_at_stripe),
        *(_money(row) if collected else ()),
        "ok" if row.ok else "DIFFERS",
    )


def _money(row: ReconciledPeriod) -> tuple[str, str]:
    from tollkeeper.domain.currency import display

    there = "-" if row.amount_collected is None else display(row.amount_collected, row.currency)
    return display(row.amount_to_collect, row.currency), there


def _document(row: ReconciledPeriod) -> dict[str, Any]:
    return {
        "user_id": row.user_id,
        "period_start": row.period.start,
        "period_end": row.period.end,
        "status": row.status,
        "ok": row.ok,
        "currency": row.currency,
        "amount_billed": row.amount_billed,
        "tokens_in_events": row.tokens_in_events,
        "tokens_in_totals": row.tokens_in_totals,
        "tokens_billed": row.tokens_billed,
        "amount_collected": row.amount_collected,
        "tokens_late": row.tokens_late,
        "tokens_reported": row.tokens_reported,
        "tokens_at_stripe": None if row.tokens_at_stripe is None else exact(row.tokens_at_stripe),
        "reports": [_report(report) for report in row.reports],
        "amount_to_collect": row.amount_to_collect,
        "collections": [_collection(one) for one in row.collections],
        "differences": row.differences,
        "notes": row.notes,
    }


def _report(report: Report) -> dict[str, Any]:
    return {
        "identifier": report.identifier,
        "event_name": report.event_name,
        "model_id": report.model_id,
        "token_type": report.token_type,
        "revision": report.revision,
        "value": exact(report.value),
        "timestamp": report.timestamp,
        "state": report.state,
        "last_error": report.last_error,
    }


def _collection(one: Collection) -> dict[str, Any]:
    return {
        "invoice_id": str(one.invoice_id),
        "collector": one.collector,
        "external_id": one.external_id,
        "amount": None if one.demand is None else one.demand.total,
        "state": one.state,
        "last_error": one.last_error,
    }
