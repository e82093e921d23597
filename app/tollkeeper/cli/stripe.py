"""`tollkeeper stripe`: telling Stripe."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.instant import INSTANT
from tollkeeper.cli.printing import working
from tollkeeper.domain.errors import SettingMissing


@click.group()
def stripe() -> None:
    """Report to Stripe what is owed."""


@stripe.command()
@click.option("--as-of", type=INSTANT, help="Only periods that ended at or before this instant; now if left out.")
def report(as_of: datetime | None) -> None:
    """Report what closed periods owe and Stripe has not acknowledged.

    Can be repeated at any time: Stripe counts once. Exit status 1 while anything is unacknowledged.
    """
    from tollkeeper.services.reporting import report_owed

    here = runtime()
    if here.stripe is None:
        raise SettingMissing("STRIPE_API_KEY", "to report to Stripe")
    with working("Reporting to Stripe"):
        done = report_owed(here.database, here.stripe, now=here.clock.now(), as_of=as_of, insist=True)
        while done.more:
            before = done
            done = report_owed(here.database, here.stripe, now=here.clock.now(), as_of=as_of)
            done = replace(
                done,
                sent=before.sent + done.sent,
                acknowledged=before.acknowledged + done.acknowledged,
                finalized=before.finalized + done.finalized,
            )
    click.echo(
        f"sent {done.sent} acknowledged {done.acknowledged} pending {done.pending} rejected {done.rejected} "
        f"invoices finalized {done.finalized}"
    )
    if done.unacknowledged:
        click.get_current_context().exit(1)
