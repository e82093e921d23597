"""The command line: a thin edge that reads arguments, calls one service and prints what came of it."""

from __future__ import annotations

import click

from tollkeeper.acting import acting_as
from tollkeeper.cli.edge import Edge, os_user

__all__ = ["main"]


@click.group(
    cls=Edge,
    commands_in={
        "doctor": ("tollkeeper.cli.doctor", "Check versions, settings, connections, schema and money."),
        "demo": ("tollkeeper.cli.demo", "Run the whole path on embedded services."),
        "dev": ("tollkeeper.cli.dev", "Run embedded services, web, worker and beat until Ctrl-C."),
        "db": ("tollkeeper.cli.db", "Bring the database's schema up to date."),
        "plans": ("tollkeeper.cli.plans", "Apply, list and lint plans."),
        "customers": ("tollkeeper.cli.customers", "Add customers and choose their plans."),
        "credits": ("tollkeeper.cli.credits", "Grant prepaid money and tokens."),
        "keys": ("tollkeeper.cli.keys", "Issue, list, rotate and revoke API keys."),
        "checkout": ("tollkeeper.cli.checkout", "Make the page at Stripe on which a customer subscribes."),
        "usage": ("tollkeeper.cli.usage", "Show, import and rate usage."),
        "invoices": ("tollkeeper.cli.invoices", "Draft, preview, explain and list invoices."),
        "stripe": ("tollkeeper.cli.stripe", "Set Stripe up, and report what is owed."),
        "paystack": ("tollkeeper.cli.paystack", "Collect by Paystack what is owed."),
        "reconcile": ("tollkeeper.cli.reconcile", "Compare events, totals, invoices, Stripe and Paystack."),
        "notices": ("tollkeeper.cli.notices", "List notices, and try again what was given up."),
        "hooks": ("tollkeeper.cli.hooks", "Send notices as signed webhooks."),
        "audit": ("tollkeeper.cli.audit", "Show who changed what, and when."),
        "completion": ("tollkeeper.cli.completion", "Print what makes a shell complete these commands."),
    },
)
@click.option("--by", metavar="NAME", help="Who acts, for the audit trail; the user of this machine if left out.")
@click.version_option(package_name="tollkeeper", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context, by: str | None) -> None:
    """Metering, spend caps, invoices and Stripe reporting for AI APIs.

    Settings come from the environment: DATABASE_URL, REDIS_URL, STRIPE_API_KEY and the TOLLKEEPER_ variables.
    """
    context.with_resource(acting_as(f"cli {by or os_user()}"))
