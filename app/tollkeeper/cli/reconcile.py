"""`tollkeeper reconcile`: does everything agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.printing import exact, instant, number, print_json, print_table, working

if TYPE_CHECKING:
    from tollkeeper.services.reconciling import ReconciledPeriod


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
        print_json({"ok": found.ok, "periods": [_document(row) for row in found.rows], "strays": found.strays})
    else:
        _print_periods(found.rows)
        for user_id, events in found.strays.items():
            click.echo(f"{user_id}: {number(events)} events lie in no period")
        click.echo("Everything agrees." if found.ok else "There are differences.")
    if not found.ok:
        click.get_current_context().exit(1)


def _print_periods(rows: tuple[ReconciledPeriod, ...]) -> None:
    header = ("customer", "period", "status", "events", "totals", "billed", "late", "reported", "at Stripe", "")
    print_table(header, [_row(row) for row in rows], right=frozenset({3, 4, 5, 6, 7, 8}))
    click.echo()
    for row in rows:
        for remark in (*(f"DIFFERENCE {difference}" for difference in row.differences), *row.notes):
            click.echo(f"{row.user_id} {instant(row.period.start)}: {remark}")


def _row(row: ReconciledPeriod) -> tuple[str, ...]:
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
        "ok" if row.ok else "DIFFERS",
    )


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
        "differences": row.differences,
        "notes": row.notes,
    }
