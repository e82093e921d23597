"""`tollkeeper dev`: everything on one machine, with one log."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.option(
    "--app", default="tollkeeper.demo.app:app", show_default=True, help="The ASGI app to serve, as MODULE:NAME."
)
@click.option("--port", default=8000, show_default=True, help="Where to serve it.")
@click.option(
    "--folder",
    default=".tollkeeper",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the embedded servers keep their data.",
)
def dev(app: str, port: int, folder: Path) -> None:
    """Run embedded PostgreSQL and Redis, the app, a worker and beat until Ctrl-C."""
    try:
        from tollkeeper.demo.developing import develop
    except ImportError as error:
        raise click.UsageError(f"{error.name} is missing: pip install 'tollkeeper[demo]'") from error

    sys.exit(develop(app, port, folder, lambda text: click.echo(text)))
