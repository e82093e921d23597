"""`tollkeeper plans`: what customers are sold."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.printing import number, print_json, print_table, working

if TYPE_CHECKING:
    from tollkeeper.services.linting import Margin
    from tollkeeper.services.planning import FieldChange, PlanChange
    from tollkeeper.storage.plans import PlanListing


@click.group()
def plans() -> None:
    """Apply and list plans."""


@plans.command("apply")
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--now", "immediate", is_flag=True, help="New prices count for the periods that are open, too.")
def apply_file(file: IO[bytes], dry_run: bool, immediate: bool) -> None:
    """Apply a plan file: all of it or nothing.

    Caps, quotas and rate limits are in force at the next request. A change of what affects money makes a new version, which
    counts from each customer's next period on.
    """
    from tollkeeper.domain.plan_file import MAX_BYTES, parse_plans
    from tollkeeper.services.planning import apply_plans

    wanted = parse_plans(file.read(MAX_BYTES + 1))
    here = runtime()
    with working("Applying plans"):
        changes = apply_plans(here.database, wanted, here.clock.now(), immediate=immediate, dry_run=dry_run)
    for change in changes:
        _print_change(change)
    if dry_run:
        click.echo("Nothing was changed, because of --dry-run.")


@plans.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_plans(as_json: bool) -> None:
    """List the plans as they are in force now."""
    from tollkeeper.services.planning import list_all

    listings = list_all(runtime().database)
    if as_json:
        print_json([_document(listing) for listing in listings])
        return
    header = ("plan", "name", "version", "currency", "interval", "base fee", "spend cap", "quota", "rate", "customers")
    print_table(header, [_row(listing) for listing in listings], right=frozenset({2, 5, 6, 7, 9}))


@plans.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def lint(as_json: bool) -> None:
    """Look for prices below cost, prices that can never match or overlap, and prices that Stripe could not tell apart.

    Costs are public list prices of the models that were used in the last 30 days. Exit status 1 if something was found.
    """
    from tollkeeper.services.linting import lint_plans

    here = runtime()
    with working("Looking at plans"):
        found = lint_plans(here.database, here.clock.now(), collect=here.settings.collect)
    if as_json:
        print_json({"ok": found.ok, "findings": found.findings, "margins": found.margins})
    else:
        header = ("plan", "model", "token type", "tokens", "sold for a million", "costs", "margin")
        print_table(header, [_margin_row(margin) for margin in found.margins], right=frozenset({3, 4, 5, 6}))
        click.echo()
        for finding in found.findings:
            click.echo(f"{finding.plan_id}: {finding.kind.replace('_', ' ')}: {finding.detail}")
        if found.ok:
            click.echo("Nothing was found.")
    if not found.ok:
        click.get_current_context().exit(1)


def _margin_row(margin: Margin) -> tuple[str, ...]:
    from tollkeeper.domain.currency import display_price

    sold = "no price" if margin.sold is None else display_price(margin.sold, margin.currency)
    cost = "unknown" if margin.cost is None else display_price(margin.cost, margin.currency)
    percent = "-" if margin.percent is None else f"{margin.percent:f} %"
    plan = margin.plan_id if margin.user_id is None else f"{margin.plan_id}, {margin.user_id}"
    return plan, margin.model_id, margin.token_type, number(margin.tokens), sold, cost, percent


def _print_change(change: PlanChange) -> None:
    start = "the periods that are open" if change.immediate else "each customer's next period"
    words = {
        "created": "created",
        "new_version": f"new version {change.version}, counts from {start} on",
        "updated": "updated in place, in force at the next request",
        "unchanged": "unchanged",
    }
    click.echo(f"{change.plan_id}: {words[change.kind]}")
    for field in change.charges:
        click.echo(f"  {_in_words(field)}")
    for field in change.limits:
        click.echo(f"  {_in_words(field)}{' (at the next request)' if change.kind == 'new_version' else ''}")


def _in_words(field: FieldChange) -> str:
    return f"{field.field}: {field.before or 'none'} -> {field.after or 'none'}"


def _row(listing: PlanListing) -> tuple[str, ...]:
    from tollkeeper.domain.currency import display

    plan = listing.plan
    return (
        plan.id,
        plan.name,
        str(listing.version),
        plan.currency,
        plan.interval,
        display(plan.base_fee, plan.currency),
        "-" if plan.spend_cap is None else display(plan.spend_cap, plan.currency),
        "-" if plan.quota is None else number(plan.quota),
        "-" if plan.rate_limit is None else str(plan.rate_limit),
        str(listing.customers),
    )


def _document(listing: PlanListing) -> dict[str, object]:
    plan = listing.plan
    return {
        "id": plan.id,
        "name": plan.name,
        "spend_cap": plan.spend_cap,
        "at_cap": plan.at_cap,
        "quota_tokens": plan.quota,
        "rate_limit": None if plan.rate_limit is None else str(plan.rate_limit),
        "throttle_limit": None if plan.throttle_limit is None else str(plan.throttle_limit),
        "collect": plan.collect,
        "collector": plan.collector,
        "days_until_due": plan.days_until_due,
        "split": None if plan.split is None else plan.split.to_json(),
        "unpriced": plan.unpriced,
        "hold_tokens": plan.hold_tokens,
        "upgrade_url": plan.upgrade_url,
        "customers": listing.customers,
        "version": listing.version,
        "applied_at": listing.applied_at,
        **plan.tariff.to_json(),
    }
