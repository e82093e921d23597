"""`tollkeeper customers`: who is billed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.instant import INSTANT
from tollkeeper.cli.printing import print_json, print_table


@click.group()
def customers() -> None:
    """Add customers and choose their plans."""


@customers.command()
@click.argument("user_id")
@click.option("--email", required=True, help="One address; notices go there.")
@click.option("--plan", "plan_id", required=True)
@click.option("--stripe-customer-id", help="Such as cus_…; what Stripe bills.")
@click.option("--period-anchor", type=INSTANT, help="When an anniversary plan's periods begin; now if left out.")
def add(user_id: str, email: str, plan_id: str, stripe_customer_id: str | None, period_anchor: datetime | None) -> None:
    """Add a customer. USER_ID is your own name for them."""
    from tollkeeper.services.onboarding import add_customer

    here = runtime()
    added = add_customer(
        here.database,
        user_id,
        email=email,
        plan_id=plan_id,
        now=here.clock.now(),
        stripe_customer_id=stripe_customer_id,
        period_anchor=period_anchor,
    )
    click.echo(f"{user_id}: {'was there already, the same' if added.existed else 'added'}, on plan {plan_id}")


@customers.command()
@click.argument("user_id")
@click.argument("plan_id", metavar="PLAN")
def plan(user_id: str, plan_id: str) -> None:
    """Put a customer on another plan.

    Its limits are in force at the next request, its prices from the customer's next period on.
    """
    from tollkeeper.services.onboarding import move_customer

    here = runtime()
    move = move_customer(here.database, user_id, plan_id, here.clock.now())
    if move.before == move.after:
        click.echo(f"{user_id}: on plan {plan_id} already")
    else:
        click.echo(f"{user_id}: from plan {move.before} to {move.after}, prices from the next period on")


@customers.command()
@click.argument("user_id")
@click.option("--email", help="One address; notices go there.")
@click.option("--stripe-customer-id", help="Such as cus_…; what Stripe bills.")
@click.option(
    "--status", type=click.Choice(["active", "suspended"]), help="Requests of a suspended customer are refused."
)
def change(
    user_id: str, email: str | None, stripe_customer_id: str | None, status: Literal["active", "suspended"] | None
) -> None:
    """Change what is known of a customer; what is left out stays."""
    from tollkeeper.services.onboarding import change_customer

    customer = change_customer(
        runtime().database, user_id, email=email, stripe_customer_id=stripe_customer_id, status=status
    )
    at_stripe = f", at Stripe {customer.stripe_customer_id}" if customer.stripe_customer_id else ""
    click.echo(f"{user_id}: {customer.status}, {customer.email or 'no address'}{at_stripe}")


@customers.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_customers(as_json: bool) -> None:
    """List all customers."""
    from tollkeeper.services.onboarding import all_customers

    found = all_customers(runtime().database)
    if as_json:
        print_json(found)
        return
    rows = [(c.user_id, c.email or "-", c.plan_id, c.status, c.stripe_customer_id or "-") for c in found]
    print_table(("customer", "email", "plan", "status", "at Stripe"), rows)
