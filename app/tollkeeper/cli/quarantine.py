"""`tollkeeper usage quarantine`: usage that was refused, and what becomes of it."""

from __future__ import annotations

from uuid import UUID

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.printing import instant, print_json, print_table, working


@click.group()
def quarantine() -> None:
    """Show usage that was refused, offer it again, or give it up."""


@quarantine.command("list")
@click.option("--all", "everything", is_flag=True, help="Those that were accepted or dropped since, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_rows(everything: bool, as_json: bool) -> None:
    """List up to 500 rows that wait, the oldest first. Exit status 1 if any waits."""
    from tollkeeper.services.quarantining import list_quarantined

    found = list_quarantined(runtime().database, everything=everything)
    if as_json:
        print_json(found)
    elif found:
        header = ("row", "from", "customer", "since", "state", "why")
        rows = [
            (str(one.id), one.source, one.user_id or "-", instant(one.created_at), one.state, one.reason)
            for one in found
        ]
        print_table(header, rows)
    if any(one.state == "waiting" for one in found):
        click.get_current_context().exit(1)


@quarantine.command()
@click.argument("rows", type=click.UUID, nargs=-1, metavar="[ROW]...")
def retry(rows: tuple[UUID, ...]) -> None:
    """Offer rows again once what they were refused for is mended: those that are named, or all. Exit status 1 if any still waits."""
    from tollkeeper.services import quarantining

    here = runtime()
    with working("Offering usage again"):
        done = quarantining.retry(here.database, here.clock.now(), rows or None)
    click.echo(f"accepted {done.accepted} still waiting {done.waiting}")
    if done.waiting:
        click.get_current_context().exit(1)


@quarantine.command()
@click.argument("rows", type=click.UUID, nargs=-1, required=True, metavar="ROW...")
@click.option("--by", required=True, help="Who says so.")
@click.option("--reason", required=True, help="Why nobody is to be charged for it.")
def drop(rows: tuple[UUID, ...], by: str, reason: str) -> None:
    """Give rows up: they are offered no more, and stay to be seen."""
    from tollkeeper.services import quarantining

    here = runtime()
    click.echo(f"dropped {quarantining.drop(here.database, rows, by=by, reason=reason, now=here.clock.now())}")
