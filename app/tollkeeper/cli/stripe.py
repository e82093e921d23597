"""`tollkeeper stripe`: telling Stripe."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from tollkeeper.cli.edge import Mistake, runtime
from tollkeeper.cli.instant import INSTANT
from tollkeeper.cli.printing import print_json, print_table, working
from tollkeeper.domain.errors import SettingMissing

if TYPE_CHECKING:
    from tollkeeper.payments.stripe import StripePayments
    from tollkeeper.services.provisioning import Setup

_ACTIONS = {"keep": "there", "make": "make", "replace": "replace", "change": "change", "skip": "skip"}


@click.group()
def stripe() -> None:
    """Set Stripe up, and report what is owed."""


@stripe.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
def setup(dry_run: bool, yes: bool) -> None:
    """Find or make at Stripe what the plans need: meters, products, prices, the customer portal, webhook endpoints.

    Can be repeated at any time: what is there is kept. Shows what is to be done first.
    """
    from tollkeeper.payments.stripe_catalog import StripeCatalog
    from tollkeeper.services.provisioning import set_up

    here = runtime()
    account = _need_stripe("to set Stripe up")
    _warn_of_full_key(account)

    def walk(*, looking: bool) -> Setup:
        with working("Looking at Stripe" if looking else "Setting Stripe up"):
            return set_up(
                here.database,
                StripeCatalog(account),
                now=here.clock.now(),
                collect=here.settings.collect,
                public_url=here.settings.public_url,
                dry_run=looking,
            )

    planned = walk(looking=True)
    _print_setup(planned)
    if planned.pending and not dry_run:
        if not yes and not sys.stdin.isatty():
            raise Mistake("nothing was done; add --yes to do it")
        if yes or click.confirm("Do this?"):
            _print_secrets(walk(looking=False))
        else:
            click.echo("nothing was done", err=True)
    if planned.unfit:
        click.get_current_context().exit(1)


def _need_stripe(purpose: str) -> StripePayments:
    account = runtime().stripe
    if account is None:
        raise SettingMissing("STRIPE_API_KEY", purpose)
    return account


def _warn_of_full_key(account: StripePayments) -> None:
    if account.livemode and not account.restricted:
        warning = "this is a full live key, which can move money out; a restricted one is enough, see docs/stripe.md"
        click.echo(f"warning: {warning}", err=True)


def _print_setup(planned: Setup) -> None:
    rows = [(_ACTIONS[s.action], s.kind, s.key, s.stripe_id or s.detail or "") for s in planned.steps]
    print_table(("", "what", "name", "at Stripe"), rows)
    for plan in planned.unfit:
        click.echo(f'{plan}. Price it ourselves: collect = "invoices"', err=True)
    if not planned.pending:
        click.echo("everything is there")


def _print_secrets(done: Setup) -> None:
    """The secrets of new endpoints: this is the only time that anybody tells them."""
    for step in done.steps:
        if step.action not in ("keep", "skip"):
            click.echo(f"{step.kind} {step.key}: {step.stripe_id}")
    secrets = [step.secret for step in done.steps if step.secret]
    if secrets:
        click.echo(
            "Keep this now, it is not shown again. It goes beside a secret that is set already, after a comma:",
            err=True,
        )
        click.echo(f"STRIPE_WEBHOOK_SECRET={','.join(secrets)}")


@stripe.command()
@click.option("--as-of", type=INSTANT, help="Only periods that ended at or before this instant; now if left out.")
def report(as_of: datetime | None) -> None:
    """Report what closed periods owe and Stripe has not acknowledged.

    Can be repeated at any time: Stripe counts once. Exit status 1 while anything is unacknowledged.
    """
    from tollkeeper.services.reporting import report_owed, why_unacknowledged
    from tollkeeper.services.windowing import enter_windows

    here = runtime()
    account = _need_stripe("to report to Stripe")
    with working("Reporting to Stripe"):
        cadence, collect = here.settings.stripe_cadence, here.settings.collect
        until = min(here.clock.now(), as_of or here.clock.now())
        enter_windows(here.database, now=until, cadence=cadence, collect=collect)
        done = report_owed(here.database, account, now=here.clock.now(), as_of=as_of, insist=True)
        while done.more:
            before = done
            done = report_owed(here.database, account, now=here.clock.now(), as_of=as_of)
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
        for reason, count in why_unacknowledged(here.database, until):
            click.echo(f"{count} not acknowledged: {reason}", err=True)
        click.get_current_context().exit(1)


@stripe.command("catch-up")
@click.option("--since", type=INSTANT, help="From this instant on; three days ago if left out. Stripe keeps 30 days.")
def catch_up(since: datetime | None) -> None:
    """Read at Stripe what no webhook has brought, after an outage of days or while no endpoint is reached.

    Can be repeated at any time: what was heard of before is not heard again.
    """
    from tollkeeper.payments.stripe_catalog import SNAPSHOT_EVENTS
    from tollkeeper.services import catching_up

    here = runtime()
    _need_stripe("to read events at Stripe")
    assert here.selling is not None
    now = here.clock.now()
    with working("Reading at Stripe"):
        done = catching_up.catch_up(
            here.database,
            here.payment_side,
            here.selling,
            types=SNAPSHOT_EVENTS,
            since=since or now - timedelta(days=3),
            now=now,
        )
    click.echo(f"events {done.seen} new {done.new}")


@stripe.command()
@click.option("--stand-in", is_flag=True, help="Against the stand-in, even where a key is set.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def rehearse(stand_in: bool, as_json: bool) -> None:
    """Live a customer's life on test clocks: subscribe, use, fail to pay, change the plan, cancel. Compare all figures.

    In a sandbox where STRIPE_API_KEY is the key of one, else against the stand-in, and always with a database of its own.
    Exit status 1 where Stripe's figures are not ours.
    """
    from tollkeeper.rehearsal.running import rehearse as run

    settings = runtime().settings
    key = None if stand_in or settings.stripe_api_key is None else settings.stripe_api_key.get_secret_value()
    figures = run(key, settings.stripe_api_base, lambda step: click.echo(step, err=True))
    if as_json:
        print_json({"ok": figures.ok, "figures": [{**asdict(row), "agrees": row.agrees} for row in figures.rows]})
    else:
        rows = [(row.what, row.ours, row.stripes, "" if row.agrees else "DIFFERS") for row in figures.rows]
        print_table(("", "ours", "Stripe's", ""), rows)
        click.echo("Stripe's figures are ours." if figures.ok else "Stripe's figures are not ours.")
    if not figures.ok:
        click.get_current_context().exit(1)
