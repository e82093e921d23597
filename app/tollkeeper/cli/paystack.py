"""`tollkeeper paystack`: what is collected by Paystack."""

from __future__ import annotations

from datetime import datetime

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.instant import INSTANT
from tollkeeper.cli.printing import print_table, working
from tollkeeper.domain.errors import SettingMissing
from tollkeeper.payments.paystack import PaystackPayments
from tollkeeper.runtime import Runtime


@click.group()
def paystack() -> None:
    """Collect by Paystack what plans with collector = "paystack" owe."""


@paystack.command()
@click.option("--as-of", type=INSTANT, help="Only periods that ended at or before this instant; now if left out.")
def collect(as_of: datetime | None) -> None:
    """Ask for every closed period's invoice to be paid, and look who has paid.

    Can be repeated at any time: each invoice is collected once. Exit status 1 while any is not with Paystack.
    """
    from tollkeeper.services.collecting import collect_owed, follow_collected

    here = runtime()
    _payments(here)
    now = here.clock.now()
    with working("Collecting by Paystack"):
        done = collect_owed(
            here.database, here.collectors, now=now, as_of=as_of, insist=True, limit=10_000, only=("paystack",)
        )
        moved = follow_collected(
            here.database, {"paystack": here.collectors["paystack"]}, now=now, limit=10_000, insist=True
        )
    click.echo(
        f"issued {done.issued} nothing due {done.nothing_due} pending {done.pending} parked {done.parked} moved on {moved}"
    )
    if done.uncollected:
        click.get_current_context().exit(1)


@paystack.command()
@click.argument("user_id")
@click.option("--use", "last4", metavar="LAST4", help="Charge this card for each invoice from now on.")
@click.option("--forget", is_flag=True, help="Charge none: the customer is asked to pay each invoice.")
def card(user_id: str, last4: str | None, forget: bool) -> None:
    """Show the cards stored at Paystack for a customer's address, and choose which one is charged.

    Choose one only for a customer who agreed to be charged.
    """
    from tollkeeper.services import authorizing

    here = runtime()
    payments, now = _payments(here), here.clock.now()
    if last4 is not None and forget:
        raise click.UsageError("either --use or --forget")
    if last4 is not None:
        authorizing.choose_card(here.database, payments, user_id, last4, now)
    if forget:
        authorizing.forget_card(here.database, user_id, now)
    cards, chosen = authorizing.stored_cards(here.database, payments, user_id)
    code = None if chosen is None else chosen.authorization_code
    print_table(
        ("card", "channel", ""),
        [(one.last4 or "-", one.channel or "-", "is charged" if one.code == code else "") for one in cards],
    )
    if chosen is None:
        click.echo(f"{user_id}: no card is charged, each invoice is asked for")


def _payments(here: Runtime) -> PaystackPayments:
    if here.paystack is None:
        raise SettingMissing("PAYSTACK_SECRET_KEY", "to collect by Paystack")
    return here.paystack
