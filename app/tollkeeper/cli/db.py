"""`tollkeeper db`: the schema."""

from __future__ import annotations

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.printing import number, print_json, print_table, working


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


@db.command()
@click.option(
    "--months", type=click.IntRange(2, 1200), help="Full months to keep; TOLLKEEPER_RETAIN_MONTHS if left out."
)
@click.option("--dry-run", is_flag=True, help="Show what would go, and archive nothing.")
def archive(months: int | None, dry_run: bool) -> None:
    """Archive months of usage behind the retention, each to a compressed CSV file, and take them out of the database.

    A month stays as long as anything in it is not settled: a period that is not closed, a report that is not acknowledged.
    """
    from tollkeeper.domain.errors import SettingMissing
    from tollkeeper.services import retaining

    here = runtime()
    months, folder = months or here.settings.retain_months, here.settings.archive_dir
    if months is None:
        raise SettingMissing("TOLLKEEPER_RETAIN_MONTHS (or --months)", "to know which months to keep")
    if folder is None:
        raise SettingMissing("TOLLKEEPER_ARCHIVE_DIR", "to know where archived months go")
    for old in retaining.old_months(here.database, here.clock.now(), months):
        name = f"{old.month:%Y-%m}"
        if not old.may_go:
            click.echo(f"{name} stays: {', '.join(f'{number} {what}' for what, number in old.reasons.items())}")
        elif dry_run:
            click.echo(f"{name} would be archived")
        else:
            with working(f"Archiving {name}"):
                done = retaining.archive_month(here.database, old.month, folder, here.clock.now())
            click.echo(f"{name} archived: {done.events} events in {done.file}" if done else f"{name} stays")


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def archives(as_json: bool) -> None:
    """List months of usage that were archived, with the files that they are in."""
    from tollkeeper.services.retaining import all_archives

    found = all_archives(runtime().database)
    if as_json:
        print_json(found)
        return
    header = ("month", "events", "bytes", "SHA-256", "file")
    rows = [(f"{one.month:%Y-%m}", number(one.events), number(one.bytes), one.sha256, one.file) for one in found]
    print_table(header, rows, right=frozenset({1, 2}))
