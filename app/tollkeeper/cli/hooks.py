"""`tollkeeper hooks`: endpoints that webhooks go out to."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import click

from tollkeeper.cli.edge import Failure, runtime
from tollkeeper.cli.printing import instant, print_json, print_table

if TYPE_CHECKING:
    from tollkeeper.storage.webhook_endpoints import Attempt, Endpoint


@click.group()
def hooks() -> None:
    """Send notices as signed webhooks to endpoints of customers, or of your own."""


@hooks.command()
@click.argument("url")
@click.option("--user", "user_id", metavar="USER_ID", help="Only this customer's notices; all customers' if left out.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind, such as quota.crossed; can be repeated.")
def add(url: str, user_id: str | None, kinds: tuple[str, ...]) -> None:
    """Name an endpoint. Its secret is the last line printed, and it is shown this once."""
    from tollkeeper.services.hooking import add_hook

    here = runtime()
    made = add_hook(
        here.database,
        url,
        here.clock,
        user_id=user_id,
        kinds=kinds,
        allow_loopback=here.settings.hooks_allow_loopback,
    )
    click.echo(f"hook {made.id}; its secret, to verify signatures by, is not shown again:", err=True)
    click.echo(made.secret)


@hooks.command("list")
@click.option("--user", "user_id", metavar="USER_ID", help="Only this customer's.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_hooks(user_id: str | None, as_json: bool) -> None:
    """List endpoints, those that were removed too."""
    from tollkeeper.services.hooking import all_hooks

    found = all_hooks(runtime().database, user_id)
    if as_json:
        columns = ("id", "user_id", "url", "kinds", "created_at", "disabled_at", "disabled_reason")
        print_json([{column: getattr(hook, column) for column in columns} for hook in found])
        return
    print_table(("hook", "customer", "url", "kinds", "state"), [_row(hook) for hook in found])


@hooks.command()
@click.argument("hook_id", metavar="ID", type=click.UUID)
def remove(hook_id: UUID) -> None:
    """Send nothing to an endpoint any more."""
    from tollkeeper.services.hooking import remove_hook

    here = runtime()
    removed = remove_hook(here.database, hook_id, here.clock)
    click.echo(f"{hook_id}: {'removed' if removed else 'was removed already'}")


@hooks.command()
@click.argument("hook_id", metavar="ID", type=click.UUID)
def test(hook_id: UUID) -> None:
    """Send a message of type hook.test now. Exit status 1 where it is not taken."""
    from tollkeeper.services.hooking import try_hook

    here = runtime()
    outcome = try_hook(here.database, here.webhook_sender, hook_id, here.clock)
    if outcome.kind != "sent":
        raise Failure(f"{hook_id}: not taken: {outcome.detail}")
    click.echo(f"{hook_id}: taken, {outcome.detail}")


@hooks.command()
@click.argument("hook_id", metavar="ID", type=click.UUID)
@click.option(
    "--last", "limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def log(hook_id: UUID, limit: int, as_json: bool) -> None:
    """Show the newest attempts at an endpoint, oldest first."""
    from tollkeeper.services.hooking import hook_log

    found = hook_log(runtime().database, hook_id, limit)
    if as_json:
        print_json(found)
        return
    header = ("at", "type", "customer", "message", "attempt", "outcome", "ms", "detail")
    print_table(header, [_attempt(one) for one in found], right=frozenset({4, 6}))


def _row(hook: Endpoint) -> tuple[str, ...]:
    state = "in use" if hook.disabled_at is None else f"{hook.disabled_reason} {instant(hook.disabled_at)}"
    return str(hook.id), hook.user_id or "all", hook.url, ", ".join(hook.kinds or ("all",)), state


def _attempt(one: Attempt) -> tuple[str, ...]:
    return (
        instant(one.at.replace(microsecond=0)),
        one.kind,
        one.user_id or "-",
        f"msg_{one.message_id.hex}",
        str(one.attempt),
        one.outcome,
        str(one.milliseconds),
        one.detail or "",
    )
