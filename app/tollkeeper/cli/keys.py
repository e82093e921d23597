"""`tollkeeper keys`: by which requests are known to be a customer's."""

from __future__ import annotations

from datetime import timedelta

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.instant import SPAN
from tollkeeper.cli.printing import instant, print_json, print_table


@click.group()
def keys() -> None:
    """Issue, list, rotate and revoke API keys."""


@keys.command()
@click.argument("user_id")
def issue(user_id: str) -> None:
    """Make an API key. It is the last line printed, and it is shown this once: only its hash is kept."""
    from tollkeeper.services.onboarding import issue_key

    here = runtime()
    key = issue_key(here.database, user_id, here.clock.now())
    click.echo(f"API key of {user_id}; keep it now, it is not shown again:", err=True)
    click.echo(key)


@keys.command("list")
@click.argument("user_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_keys(user_id: str, as_json: bool) -> None:
    """List a customer's keys by their first characters."""
    from tollkeeper.services import onboarding

    found = onboarding.list_keys(runtime().database, user_id)
    if as_json:
        columns = ("prefix", "user_id", "created_at", "revoked_at")
        print_json([{column: getattr(key, column) for column in columns} for key in found])
        return
    rows = [(f"{k.prefix}…", instant(k.created_at), instant(k.revoked_at) if k.revoked_at else "-") for k in found]
    print_table(("key", "created", "revoked"), rows)


@keys.command()
@click.argument("key")
@click.option(
    "--overlap", type=SPAN, default="24h", show_default=True, help="How long the old key still works: 30m, 24h, 7d."
)
def rotate(key: str, overlap: timedelta) -> None:
    """Make a new key in place of KEY, which works on for the overlap. The new key is the last line printed, this once.

    KEY is the whole old key or the first characters that `keys list` shows.
    """
    from tollkeeper.services.onboarding import rotate_key

    here = runtime()
    done = rotate_key(here.database, key.rstrip("…"), here.clock.now(), overlap=overlap)
    click.echo(f"{done.old.prefix}… of {done.old.user_id} works until {instant(done.old_until)}", err=True)
    click.echo(f"New API key of {done.old.user_id}; keep it now, it is not shown again:", err=True)
    click.echo(done.key)


@keys.command()
@click.argument("key")
def revoke(key: str) -> None:
    """Refuse a key from the next request on. KEY is the whole key or the first characters that `keys list` shows."""
    from tollkeeper.services import onboarding

    here = runtime()
    now = here.clock.now()
    revoked = onboarding.revoke(here.database, key.rstrip("…"), now)
    if revoked.revoked_at is None or revoked.revoked_at > now:
        click.echo(f"{revoked.prefix}… of {revoked.user_id}: revoked")
    else:
        click.echo(f"{revoked.prefix}… of {revoked.user_id}: was revoked already at {instant(revoked.revoked_at)}")
