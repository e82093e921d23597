"""`tollkeeper db`: the schema."""

from __future__ import annotations

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.printing import working


@click.group()
def db() -> None:
    """Bring the database's schema up to date."""


@db.command()
def upgrade() -> None:
    """Run the migrations that have not run, and make partitions for the months ahead."""
    from tollkeeper.services.upgrading import upgrade_database

    here = runtime()
    with working("Migrating"):
        done = upgrade_database(here.database, here.clock.now())
    moved = (
        f"from {done.before or 'nothing'} to {done.after}" if done.before != done.after else f"at {done.after} already"
    )
    click.echo(f"schema: {moved}")
    click.echo(f"partitions: {', '.join(f'{month:%Y-%m}' for month in done.months) or 'all there already'}")


@db.command()
def sql() -> None:
    """Print all migrations as SQL, for somebody who runs them by hand."""
    from tollkeeper.services.upgrading import upgrade_statements

    click.echo(upgrade_statements(), nl=False)
