"""`tollkeeper customers`: who is billed."""

from __future__ import annotations

from datetime import datetime
from typing import IO, TYPE_CHECKING, Literal

import click

from tollkeeper.cli.edge import Mistake, runtime
from tollkeeper.cli.instant import INSTANT
from tollkeeper.cli.printing import instant, print_json, print_table

if TYPE_CHECKING:
    from tollkeeper.services.overriding import Term


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
@click.option(
    "--at",
    type=INSTANT,
    help="From when on, past or to come, inside the open period; from the next one on if left out.",
)
def plan(user_id: str, plan_id: str, at: datetime | None) -> None:
    """Put a customer on another plan.

    Its limits are in force at the next request, its prices from the customer's next period on. With --at all of it counts from
    that instant on: each part of the period is priced by its own plan, and one invoice has both.
    """
    from tollkeeper.services.moving import move_customer

    here = runtime()
    move = move_customer(here.database, user_id, plan_id, here.clock.now(), at=at, collect=here.settings.collect)
    since = "prices from the next period on" if move.at is None else f"from {instant(move.at)} on"
    if move.before == move.after:
        click.echo(f"{user_id}: on plan {plan_id} already")
    else:
        click.echo(f"{user_id}: from plan {move.before} to {move.after}, {since}")


@customers.command()
@click.argument("user_id")
@click.option("--at", type=INSTANT, help="When the customer left; now if left out.")
def close(user_id: str, at: datetime | None) -> None:
    """Let a customer leave: requests are refused, and the next close drafts the final invoice."""
    from tollkeeper.services.leaving import close_customer

    here = runtime()
    left = close_customer(here.database, user_id, here.clock.now(), at)
    click.echo(f"{user_id}: closed, the last period ends at {instant(left)}")


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

    here = runtime()
    customer = change_customer(
        here.database, user_id, here.clock.now(), email=email, stripe_customer_id=stripe_customer_id, status=status
    )
    at_stripe = f", at Stripe {customer.stripe_customer_id}" if customer.stripe_customer_id else ""
    click.echo(f"{user_id}: {customer.status}, {customer.email or 'no address'}{at_stripe}")


@customers.command()
@click.argument("user_id")
@click.option("--cap", help="Spend cap in the plan's currency, such as 50.00; in force at the next request.")
@click.option("--discount", help="Percent off usage charges, such as 12.5.")
@click.option("--prices", "file", type=click.File("rb"), help="A TOML file with [[prices]] that go before the plan's.")
@click.option(
    "--clear", multiple=True, type=click.Choice(["cap", "discount", "prices"]), help="Back to the plan's own."
)
@click.option("--now", "immediate", is_flag=True, help="Discount and prices count for the open period, too.")
def override(
    user_id: str,
    cap: str | None,
    discount: str | None,
    file: IO[bytes] | None,
    clear: tuple[Term, ...],
    immediate: bool,
) -> None:
    """Give a customer terms of their own in place of the plan's; with no option, show them.

    Discount and prices count from the customer's next period on.
    """
    from tollkeeper.domain.currency import display, parse_major
    from tollkeeper.domain.own_terms import OwnTerms
    from tollkeeper.domain.plan_file import MAX_BYTES, parse_percent, parse_prices
    from tollkeeper.services import overriding

    here = runtime()
    terms, currency = overriding.terms_of(here.database, user_id)
    given = OwnTerms(
        spend_cap=None if cap is None else parse_major(cap, currency, "cap"),
        discount_percent=None if discount is None else parse_percent(discount, "discount"),
        prices=() if file is None else parse_prices(file.read(MAX_BYTES + 1), currency),
    )
    if given != OwnTerms() or clear or immediate:
        terms = overriding.override(
            here.database, user_id, here.clock.now(), given=given, clear=frozenset(clear), immediate=immediate
        )
    click.echo(f"cap       {_own_or_plans(None if terms.spend_cap is None else display(terms.spend_cap, currency))}")
    click.echo(
        f"discount  {_own_or_plans(None if terms.discount_percent is None else f'{terms.discount_percent:f} %')}"
    )
    own = ", ".join(f"{price.model} {price.meter}" for price in terms.prices)
    click.echo(f"prices    {_own_or_plans(own)}")


@customers.command()
@click.argument("user_id")
@click.option("--email", help="One address; notices go there.")
@click.option("--slack-url", help="A Slack room's incoming webhook; notices are posted there, too.")
@click.option("--no-slack", is_flag=True, help="Post to no room any more.")
def notify(user_id: str, email: str | None, slack_url: str | None, no_slack: bool) -> None:
    """Choose where a customer's notices go; with no option, show it.

    For webhooks see: tollkeeper hooks.
    """
    from tollkeeper.services import hooking
    from tollkeeper.services.onboarding import change_customer

    if slack_url is not None and no_slack:
        raise Mistake("expected either --slack-url or --no-slack")
    here = runtime()
    if slack_url is not None or no_slack:
        hooking.post_to_room(here.database, user_id, slack_url, here.clock)
    customer = change_customer(here.database, user_id, here.clock.now(), email=email)
    hooks = [one for one in hooking.all_hooks(here.database, user_id) if one.disabled_at is None]
    click.echo(f"mail      {customer.email or '-'}")
    click.echo(f"Slack     {'a room of their own' if hooking.has_room(here.database, user_id) else '-'}")
    click.echo(f"webhooks  {len(hooks)}")


def _own_or_plans(own: str | None) -> str:
    return own or "the plan's"


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
