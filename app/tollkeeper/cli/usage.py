"""`tollkeeper usage`: what was used."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING
from uuid import UUID

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.printing import Progress, instant, number, print_json, print_table, working
from tollkeeper.cli.quarantine import quarantine
from tollkeeper.domain.errors import InvalidInput

if TYPE_CHECKING:
    from tollkeeper.services.importing import Form, ImportSummary, Rejected
    from tollkeeper.services.showing import PeriodUsage, UsageOverview

_FORMS: dict[str, Form] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


@click.group()
def usage() -> None:
    """Show, import, rate and correct usage."""


usage.add_command(quarantine)


@usage.command()
@click.argument("user_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(user_id: str, as_json: bool) -> None:
    """Show what a customer used: the period of now, and the last ones."""
    from tollkeeper.services.showing import usage_of

    here = runtime()
    overview = usage_of(here.database, user_id, here.clock.now())
    if as_json:
        print_json(overview)
        return
    _print_current(overview)
    _print_recent(overview)


@usage.command("import")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="FILE.jsonl|FILE.csv|-")
def import_file(path: str) -> None:
    """Store usage that happened elsewhere.

    Needed in each row: id, user_id, timestamp (with an offset), model_id, tokens_in, tokens_out; the other columns of
    usage_events may be there. The same id twice is one event. Bad rows are told on standard error, skipped, and kept in the
    quarantine; the exit status is 1 if there were any. An import that was cut off is run again: what is stored is passed over.
    """
    from tollkeeper.services.importing import Watch, import_usage

    form = _form(path)
    here, progress = runtime(), Progress()

    def rejected(row: Rejected) -> None:
        progress.clear()
        click.echo(f"line {row.line}: {row.reason}", err=True)

    watch = Watch(
        rejected=rejected,
        progress=lambda summary: progress.show(f"{summary.rows:,} rows …"),
        waiting=lambda: click.echo("Waiting for another import to end.", err=True),
    )
    try:
        with click.open_file(path, "rb") as file:
            summary = import_usage(here.database, file, form, here.clock, watch)
    finally:
        progress.clear()
    _print_summary(summary)


@usage.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def unpriced(as_json: bool) -> None:
    """List usage that waits for a price, by customer, period and model."""
    from tollkeeper.services.rating import queue

    found = queue(runtime().database)
    if as_json:
        print_json(found)
        return
    header = ("customer", "plan", "period", "status", "model", "events", "tokens")
    rows = [
        (
            one.user_id,
            one.plan_id,
            f"{instant(one.period_start)} to {instant(one.period_end)}",
            one.status,
            one.model_id,
            number(one.events),
            number(one.tokens),
        )
        for one in found
    ]
    print_table(header, rows, right=frozenset({5, 6}))


@usage.command("rate-unpriced")
def rate_unpriced() -> None:
    """Rate usage that had no price, where the newest version of its plan has one.

    In periods that are open it counts at once; in closed ones it is billed as late usage on the next invoice. Exit status 1
    if some still has no price.
    """
    from tollkeeper.services import rating

    here = runtime()
    with working("Rating"):
        done = rating.rate_unpriced(here.database, here.clock.now())
    click.echo(f"rated {done.events} events in {done.periods} periods, {done.left} still have no price")
    if done.left:
        click.get_current_context().exit(1)


@usage.command()
@click.argument("event_id", type=click.UUID)
@click.option("--by", required=True, help="Who says so.")
@click.option("--reason", required=True, help="Why it should not have been counted.")
def reverse(event_id: UUID, by: str, reason: str) -> None:
    """Take an event back: a second row takes it off every sum, the event itself stays. Asking twice takes it back once.

    In a period that is closed already, the next invoice has the difference.
    """
    from tollkeeper.domain.currency import display_price
    from tollkeeper.services import reversing

    here = runtime()
    done = reversing.reverse(here.database, event_id, by=by, reason=reason, now=here.clock.now())
    if done.already:
        click.echo(f"{done.user_id}: event {event_id} was reversed before; nothing changed")
        return
    when = "on the next invoice" if done.period_status == "closed" else "before its period is billed"
    changed = display_price(done.cost_units, done.currency)
    click.echo(f"{done.user_id}: event {event_id} is reversed, {changed} {when}")


def _form(path: str) -> Form | None:
    """By the name's ending; None for standard input, which shows it in its first line."""
    if path == "-":
        return None
    form = _FORMS.get(PurePath(path).suffix.lower())
    if form is None:
        raise InvalidInput("FILE", "a name that ends in .jsonl or .csv, or - for standard input")
    return form


def _print_summary(summary: ImportSummary) -> None:
    click.echo(f"accepted {summary.accepted} duplicate {summary.duplicate} rejected {summary.rejected}")
    if summary.rejected:
        click.get_current_context().exit(1)


def _print_current(overview: UsageOverview) -> None:
    from tollkeeper.domain.currency import display

    current = overview.current
    click.echo(f"{overview.user_id}, on plan {overview.plan_id}, {overview.status}")
    click.echo(f"period  {instant(current.period_start)} to {instant(current.period_end)}, {current.status}")
    if current.parts:
        since = ", ".join(f"{part.plan_id} from {instant(part.start)}" for part in current.parts)
        click.echo(f"plans   {since}")
    click.echo(f"events  {number(current.events)}")
    of_quota = f" of {number(overview.quota_tokens)}, {overview.percent_of_quota} %" if overview.quota_tokens else ""
    click.echo(f"tokens  {number(current.tokens)}{of_quota}")
    cap = overview.spend_cap
    of_cap = "" if cap is None else f" of {display(cap, current.currency)}, {overview.percent_of_cap} %"
    click.echo(f"spent   {display(current.spent, current.currency)}{of_cap}")
    if current.quantities:
        click.echo()
        rows = [(q.model_id, q.token_type, number(q.quantity)) for q in current.quantities]
        print_table(("model", "token type", "quantity"), rows, right=frozenset({2}))


def _print_recent(overview: UsageOverview) -> None:
    if overview.recent:
        click.echo()
        rows = [_recent(period) for period in overview.recent]
        print_table(("period", "status", "events", "tokens", "spent"), rows, right=frozenset({2, 3, 4}))


def _recent(period: PeriodUsage) -> tuple[str, ...]:
    from tollkeeper.domain.currency import display

    span = f"{instant(period.period_start)} to {instant(period.period_end)}"
    spent = display(period.spent, period.currency)
    return span, period.status, number(period.events), number(period.tokens), spent
