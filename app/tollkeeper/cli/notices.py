"""`tollkeeper notices`: what customers and you were told, and what is still on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.printing import instant, print_json, print_table

if TYPE_CHECKING:
    from tollkeeper.storage.notices import DeliveryState, ListedDelivery


@click.group()
def notices() -> None:
    """List notices by mail, Slack and webhook, and try again what was given up."""


@notices.command("list")
@click.option("--user", "user_id", metavar="USER_ID", help="Only those about this customer.")
@click.option("--state", type=click.Choice(["pending", "sent", "parked", "dropped"]), help="Only those in this state.")
@click.option("--kind", help="Only this kind, such as invoice.finalized.")
@click.option(
    "--last", "limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many at most."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_notices(user_id: str | None, state: DeliveryState | None, kind: str | None, limit: int, as_json: bool) -> None:
    """List the newest deliveries, oldest first."""
    from tollkeeper.services.notifying import all_deliveries

    found = all_deliveries(runtime().database, user_id=user_id, state=state, kind=kind, limit=limit)
    if as_json:
        print_json(found)
        return
    header = ("delivery", "notice", "customer", "by", "to", "state", "tries", "since", "detail")
    print_table(header, [_row(one) for one in found], right=frozenset({6}))


@notices.command()
@click.argument("delivery_id", metavar="[ID]", type=click.UUID, required=False)
def retry(delivery_id: UUID | None) -> None:
    """Try deliveries again that were given up: all that are parked, or the one named."""
    from tollkeeper.services import notifying

    here = runtime()
    count = notifying.retry(here.database, here.clock, delivery_id)
    click.echo(f"{count} {'delivery' if count == 1 else 'deliveries'} will be tried again")


def _row(one: ListedDelivery) -> tuple[str, ...]:
    return (
        str(one.id),
        one.kind,
        one.user_id or "-",
        one.channel,
        one.target,
        one.state,
        str(one.attempts),
        instant(one.created_at.replace(microsecond=0)),
        one.last_error or "",
    )
