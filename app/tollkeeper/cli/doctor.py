"""`tollkeeper doctor`: is everything as it should be."""

from __future__ import annotations

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.printing import print_json, print_table, working


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(as_json: bool) -> None:
    """Check versions, settings, connections, schema and money. Secrets are masked. Exit status 1 if something failed."""
    from tollkeeper.services.inspecting import inspect

    here = runtime()
    database = None if here.settings.database_url is None else here.database
    with working("Looking"):
        found = inspect(here.settings, here.clock, database=database, stripe=here.stripe, paystack=here.paystack)
    if as_json:
        checks = {"ok": found.ok, "checks": found.checks, "versions": found.versions, "settings": found.settings}
        print_json(checks)
    else:
        print_table(("version", ""), list(found.versions.items()))
        click.echo()
        print_table(("setting", ""), [(name, value or "-") for name, value in found.settings.items()])
        click.echo()
        print_table(("check", "", ""), [(check.name, check.state, check.detail) for check in found.checks])
        click.echo()
        click.echo("Everything that is needed works." if found.ok else "Something needs mending.")
    if not found.ok:
        click.get_current_context().exit(1)
