"""`tollkeeper checkout`: a page at Stripe on which a customer subscribes."""

from __future__ import annotations

import click

from tollkeeper.cli.edge import runtime
from tollkeeper.cli.printing import print_json
from tollkeeper.domain.errors import SettingMissing


@click.command()
@click.argument("user_id")
@click.argument("plan")
@click.option(
    "--success-url", help="Where Stripe sends them back to; our own page at TOLLKEEPER_PUBLIC_URL if left out."
)
@click.option("--cancel-url", help="Where they go who change their mind.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with the claim to the API key.")
def checkout(user_id: str, plan: str, success_url: str | None, cancel_url: str | None, as_json: bool) -> None:
    """Make the address at which USER_ID subscribes to PLAN; it is the last line printed and good for a day.

    Nothing changes until it is paid. Then Stripe's webhook puts the customer on the plan.
    """
    from tollkeeper.services.checking_out import SESSION_PLACEHOLDER, start_checkout

    here = runtime()
    if here.selling is None:
        raise SettingMissing("STRIPE_API_KEY", "to subscribe anybody")
    base = here.settings.public_url
    if success_url is None and base is None:
        raise SettingMissing("TOLLKEEPER_PUBLIC_URL", "to come back from the checkout, or give --success-url")
    started = start_checkout(
        here.database,
        here.selling,
        user_id,
        plan,
        now=here.clock.now(),
        success_url=success_url or f"{base}/checkout/done?session_id={SESSION_PLACEHOLDER}",
        cancel_url=cancel_url,
        collect=here.settings.collect,
    )
    if as_json:
        shown = {"user_id": user_id, "plan": plan, "session_id": started.session_id, "url": started.url}
        print_json({**shown, "claim": started.claim})
        return
    click.echo(f"{user_id} subscribes to {plan} here, within a day:", err=True)
    click.echo(started.url)
